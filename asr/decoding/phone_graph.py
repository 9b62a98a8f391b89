"""Search graphs as they ship: from phones to words, in an `.npz` archive with LZMA compression."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.decoding.fst import ARC, Fst, state_table
from asr.decoding.lexicon import TOKENS
from asr.decoding.vocabulary import Vocabulary
from asr.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]
    Progress = Callable[[float], None]

FORMAT = 1
"""Version of the files."""

COLUMNS = (
    "format", "start", "vocabulary", "arcs", "final", "final_cost", "ilabel", "word_at", "word",
    "cost", "next",
)  # fmt: skip
"""The arrays in a file that ships; what is sparse is kept as the steps between its places."""

BREAK_OFF = 8.0
"""What it costs to end within a word. What is taken is the best path to a final state, whatever
better there is: so that what is being said can be shown, all states are final, at a price."""

STEP = 1 / 32
"""Costs are stored as multiples of this, in 16 bits."""

NEVER = np.iinfo(np.int16).max
"""The cost of an arc that cannot be taken."""


@dataclass(frozen=True)
class PhoneGraph:
    """A graph as it ships: from phones, as token ids, to words, as labels of the vocabulary.

    Attributes:
        vocabulary: its words.
        fst: the graph.
        root: where a language model stands that knows nothing of what was said before, so that any
            word may begin; None if that is not a graph of a language model.
    """

    vocabulary: Vocabulary
    fst: Fst
    root: int | None = None

    def save(self, path: Path) -> None:
        """Writes the file of a language model's graph that `Graph.load` reads.

        Costs are rounded to `STEP`.

        Raises:
            GraphError: a cost is too large.
        """
        states, arcs = self.fst.states, self.fst.arcs
        final = np.flatnonzero(np.isfinite(states["final"]))
        worded = np.flatnonzero(arcs["olabel"])
        jumps = arcs["next"].astype(np.int64) - np.arange(len(arcs))
        columns = {
            "format": np.array(FORMAT),
            "start": np.array(self.fst.start),
            "vocabulary": self.vocabulary.text[:],
            "arcs": states["arcs"].astype(np.uint16),
            "final": np.diff(final, prepend=0),
            "final_cost": to_steps(states["final"][final]),
            "ilabel": arcs["ilabel"].astype(np.uint8),
            "word_at": np.diff(worded, prepend=0),
            "word": arcs["olabel"][worded],
            "cost": to_steps(arcs["weight"]),
            "next": jumps.astype(np.int32),
        }
        import zipfile

        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
            for name, column in columns.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, column)

    @classmethod
    def load(cls, path: Path, progress: Progress | None = None) -> PhoneGraph:
        """Reads what `save` wrote.

        Args:
            path: the file.
            progress: is told the share that is done, in [0, 1].

        Raises:
            GraphError: the file is damaged, or not a graph.
        """
        columns = _read(path, COLUMNS, progress)  # which are many, so none is kept for long
        arcs = np.zeros(len(columns["cost"]), ARC)
        arcs["ilabel"] = columns.pop("ilabel")
        arcs["olabel"][np.cumsum(columns.pop("word_at"))] = columns.pop("word")
        arcs["weight"] = columns.pop("cost")
        arcs["weight"] *= STEP
        arcs["next"] = columns.pop("next")
        arcs["next"] += np.arange(len(arcs), dtype=np.int32)
        count = columns.pop("arcs")
        final = np.full(len(count), np.inf, np.float32)
        final[np.cumsum(columns["final"])] = columns["final_cost"] * STEP
        vocabulary = Vocabulary.read(columns["vocabulary"])
        start = int(columns["start"])
        if (
            count.sum() != len(arcs)
            or not 0 <= start < len(count)
            or arcs["next"].min() < 0
            or arcs["next"].max() >= len(count)
            or arcs["ilabel"].max() >= len(TOKENS)
            or arcs["olabel"].max() > len(vocabulary)
        ):
            raise GraphError(f"{path} is damaged: its arcs lead nowhere; get the file again")
        sources = np.repeat(np.arange(len(count), dtype=np.int32), count)
        fst = Fst(start, state_table(final, sources, arcs), arcs)
        return cls(vocabulary, fst, backed_off(fst))


def _read(path: Path, names: tuple[str, ...], progress: Progress | None) -> Arrays:
    """Reads some columns of a file, the first of which is its format."""
    columns: Arrays = {}
    try:
        with np.load(path) as archive:
            for done, name in enumerate(names, 1):
                columns[name] = archive[name]
                if progress:
                    progress(done / len(names))
    except Exception as error:  # damaged archives raise nearly anything
        raise GraphError(f"{path} is not a graph, or damaged: {error}") from error
    if columns["format"] != FORMAT:
        raise GraphError(
            f"{path} has format {columns['format']}, this version reads {FORMAT}: "
            "build the graph again with `asr graph`"
        )
    return columns


def break_off(root: int | None) -> float:
    """What it costs at most to end: a language model's sentence can be broken off anywhere.

    Infinite in a grammar, whose graph has no root.
    """
    return math.inf if root is None else BREAK_OFF


def broken_off(final: NDArray[np.float32]) -> NDArray[np.float32]:
    """What it costs to end if what is said may be broken off anywhere."""
    return np.minimum(final, BREAK_OFF)


def backed_off(fst: Fst) -> int:
    """The state of a language model's graph that backing off from the start ends in.

    Raises:
        GraphError: it never ends.
    """
    state, seen = fst.start, set[int]()
    while fst.states["iepsilons"][state]:
        if state in seen:
            raise GraphError("the graph is damaged: backing off never ends; get the file again")
        seen.add(state)
        state = int(fst.arcs["next"][fst.states["first"][state]])
    return state


def rounded(fst: Fst) -> Fst:
    """Rounds costs as `PhoneGraph.save` does; more states are equal then."""
    states, arcs = fst.states.copy(), fst.arcs.copy()
    states["final"] = np.round(states["final"] / STEP) * STEP
    arcs["weight"] = np.round(arcs["weight"] / STEP) * STEP
    return Fst(fst.start, states, arcs)


def to_steps(costs: NDArray[np.float32]) -> NDArray[np.int16]:
    """Rounds costs in nats to multiples of `STEP`; an infinite one becomes `NEVER`."""
    steps = np.round(np.asarray(costs) / STEP)
    if (large := (np.abs(steps) >= NEVER) & np.isfinite(steps)).any():
        most = STEP * (NEVER - 1)
        raise GraphError(f"a cost of {costs[large][0]:g} nats is too much, {most:g} can be")
    return np.where(np.isfinite(steps), steps, NEVER).astype(np.int16)
