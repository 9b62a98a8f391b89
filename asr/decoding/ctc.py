"""The CTC topology, put in front of a graph of phones.

A phone lasts one frame or more, blanks may stand anywhere, and between two equal phones there must
be one (Graves et al., "Connectionist temporal classification", 2006). As a transducer T, blank has
a state, and so has each phone while it is held. Composing it with a graph of phones pairs these
with the graph's states; as that is all it does, it is done here for whole tables at once.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from asr.decoding.fst import ARC, HEADER, STATE, Fst, ranges, state_table, write_header
from asr.decoding.hypothesis import BLANK
from asr.decoding.phone_graph import BREAK_OFF

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Table = NDArray[np.void]

_BASE = 256
"""A pair (state of the graph, token held) is one number, state * _BASE + token."""


def write_expanded(
    graph: Fst,
    file: BinaryIO,
    progress: Callable[[float], None] | None = None,
    break_off: float = BREAK_OFF,
) -> None:
    """Writes the composition of the CTC topology and a graph, in OpenFst's const format.

    Args:
        graph: input labels are token ids (0 is epsilon).
        file: open for writing; input labels in it are token id + 1, as decoders expect.
        progress: is told the share that is done, in [0, 1].
        break_off: what it costs at most to end in a state.
    """
    pairs = _pairs(graph)
    file.seek(HEADER.size + len(pairs) * STATE.itemsize)
    tables, arcs = [], 0
    for done, states, expanded in _expand(graph, pairs, break_off):
        states["first"] += arcs
        tables.append(states)
        arcs += len(expanded)
        file.write(expanded.tobytes())
        if progress:
            progress(done)
    start = int(np.searchsorted(pairs, graph.start * _BASE + BLANK))
    file.seek(0)
    write_header(file, start, len(pairs), arcs)
    for states in tables:
        file.write(states.tobytes())
    file.seek(0, os.SEEK_END)


def _pairs(graph: Fst) -> Ints:
    """All pairs of a state and the token held on entering it, sorted; each state with blank."""
    label, to = graph.arcs["ilabel"], graph.arcs["next"].astype(np.int64)
    blank = np.arange(len(graph.states)) * _BASE + BLANK
    pairs = np.unique(np.concatenate([blank, (to * _BASE + label)[label != 0]]))
    # An arc without input leads on with the same token held.
    silent = label == 0
    count = graph.states["iepsilons"].astype(np.int64)
    first = np.cumsum(count) - count
    targets = to[silent]
    new = pairs
    while len(new):
        state, token = new // _BASE, new % _BASE
        pair, arc = ranges(first[state], count[state])
        reached = np.unique(targets[arc] * _BASE + token[pair])
        new = np.setdiff1d(reached, pairs, assume_unique=True)
        pairs = np.union1d(pairs, new)
    return pairs


def _expand(
    graph: Fst, pairs: Ints, break_off: float, chunk: int = 100_000
) -> Iterator[tuple[float, Table, Table]]:
    """Gives the share done, states and arcs of the composition, some states at a time."""
    for begin in range(0, len(pairs), chunk):
        part = pairs[begin : begin + chunk]
        sources, arcs = _arcs(graph, pairs, part, begin)
        order = np.argsort(sources, kind="stable")
        final = np.minimum(graph.states["final"][part // _BASE], break_off)
        done = (begin + len(part)) / len(pairs)
        yield done, state_table(final, sources, arcs), arcs[order]


def _arcs(graph: Fst, pairs: Ints, part: Ints, begin: int) -> tuple[Ints, Table]:
    """The arcs of the pairs `part`, found at place `begin` of all; and whose each is."""
    states, held = part // _BASE, part % _BASE
    here = np.arange(len(part))
    loops = np.zeros(len(part), ARC)
    loops["ilabel"] = held + 1
    loops["next"] = begin + here

    owner, arc = graph.arcs_of(states)
    label = graph.arcs["ilabel"][arc]
    repeats = np.bincount(owner[label == held[owner]], minlength=len(part)) > 0
    # Where the token held cannot follow itself, it is as good as over: on to blank's arcs.
    joins = (held != BLANK) & ~repeats & (graph.states["iepsilons"][states] == 0)
    speaking = here[held != BLANK]
    to_blank = np.zeros(len(speaking), ARC)
    to_blank["ilabel"] = np.where(joins[speaking], 0, BLANK + 1)
    to_blank["next"] = np.searchsorted(pairs, states[speaking] * _BASE + BLANK)

    allowed = ((label == 0) | (label != held[owner])) & ~joins[owner]
    owner, arc, label = owner[allowed], arc[allowed], label[allowed]
    onward = graph.arcs[arc]
    silent = label == 0
    onward["ilabel"] = np.where(silent, 0, label + 1)
    token = np.where(silent, held[owner], label)
    onward["next"] = np.searchsorted(pairs, onward["next"].astype(np.int64) * _BASE + token)
    return np.concatenate([here, speaking, owner]), np.concatenate([loops, to_blank, onward])
