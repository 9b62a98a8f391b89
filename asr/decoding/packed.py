"""Arcs in six bytes each, as a search reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from asr.decoding.columns import NEVER, to_steps
from asr.decoding.hypothesis import BLANK, STATE_BITS, TOKEN_BITS
from asr.errors import GraphError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from asr.decoding.columns import Columns

    Ints = NDArray[np.integer[Any]]

PACKED = np.dtype([("key", np.uint32), ("cost", np.int16)])
"""An arc of `Graph`. Its key has, from the lowest bit on, the token that it takes, the state that
it leads to, and two flags; its cost is in `STEP`."""

GIVES, LAST = 1 << 30, 1 << 31
"""Flags of an arc that gives a word, and of the last one of a state."""

END = (1 << TOKEN_BITS) - 1
"""The token of an arc that leads nowhere: what it costs is what it costs to end in its state."""

MOST_ARCS = 1 << STATE_BITS
"""So many arcs, and therefore states, a search can tell apart."""

ROOM = 1 << 17
"""So many arcs more a graph can get later."""

BLOCK = 1 << 16
"""So many states are packed at a time, which need memory."""


def pack(source: Ints, token: Any, word: Any, cost: Any, place: Any) -> NDArray[np.void]:
    """Packs A arcs, given in the order of their sources.

    Args:
        source: [A], a number for the state that each leaves.
        token: [A], what it takes.
        word: [A], the label of the word that it gives, or 0.
        cost: [A], in nats.
        place: [A], the state that it leads to.

    Raises:
        GraphError: a cost is too large.
    """
    arcs = np.zeros(len(source), PACKED)
    last = np.diff(source, append=-2) != 0
    flags = np.where(word, GIVES, 0) | np.where(last, LAST, 0)
    arcs["key"] = flags | np.asarray(place, np.int64) << TOKEN_BITS | token
    arcs["cost"] = to_steps(cost)
    return arcs


def packed(columns: Columns, root: int) -> tuple[NDArray[np.void], NDArray[np.uint32]]:
    """Packs a graph.

    Args:
        columns: the graph.
        root: the state that becomes state 0, and gets an arc that cannot be taken.

    Returns:
        the arcs [A + 1] and the labels [A] of their words, as `Graph` has them.

    Raises:
        GraphError: the graph is too large.
    """
    count = columns.arcs
    ending = np.full(len(count), NEVER, np.int16)
    ending[columns.final] = columns.final_cost
    more = ((ending < NEVER) | (count == 0)).astype(np.uint8)  # arcs that a state gets
    more[root] = 2
    size = int(more.sum()) + len(columns.cost)
    if size + ROOM > MOST_ARCS:
        raise GraphError(f"the graph has {size} arcs, at most {MOST_ARCS - ROOM} can be")
    begin = (count + more).astype(np.int32)  # of each state, once all are added up
    begin[[0, root]] = begin[[root, 0]]
    begin[1:] = np.cumsum(begin[:-1])
    begin[0] = 0
    begin[[0, root]] = begin[[root, 0]]
    arcs, word = np.zeros(size + 1, PACKED), np.zeros(size, np.uint32)
    arcs["key"][1], arcs["cost"][1] = END, NEVER
    at = 0
    for states in (slice(b, b + BLOCK) for b in range(0, len(count), BLOCK)):
        first = begin[states] + more[states]
        own = slice(at, at := at + int(count[states].sum()))
        ahead = np.cumsum(count[states], dtype=np.int32) - count[states]
        places = np.repeat((first - ahead).astype(np.int32), count[states])
        places += np.arange(len(places), dtype=np.int32)
        arcs["key"][places] = begin[columns.next[own]]
        arcs["key"][places] <<= TOKEN_BITS
        arcs["key"][places] |= columns.token[own]
        arcs["cost"][places] = columns.cost[own]
        given = slice(*columns.worded.searchsorted([own.start, own.stop]))
        worded = places[columns.worded[given] - own.start]
        word[worded] = columns.word[given]
        arcs["key"][worded] |= np.uint32(GIVES)
        has = more[states] > 0
        ends = begin[states][has]
        arcs["key"][ends], arcs["cost"][ends] = END, ending[states][has]
        arcs["key"][first + count[states] - 1] |= np.uint32(LAST)
    arcs[-1:] = pack(np.zeros(1, int), BLANK, 0, 0.0, begin[columns.start])
    return arcs, word
