"""Search graphs as they are built, from phones to words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from asr.decoding.columns import STEP, Columns, to_steps
from asr.decoding.fst import ARC, Fst, state_table
from asr.decoding.vocabulary import Vocabulary

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

BREAK_OFF = 8.0
"""What it costs to end within a word. What is taken is the best path to a final state, whatever
better there is: so that what is being said can be shown, all states are final, at a price."""


@dataclass(frozen=True)
class PhoneGraph:
    """A graph as it is built: from phones, as token ids, to words, as labels of the vocabulary.

    Attributes:
        vocabulary: its words.
        fst: the graph.
        root: where a language model stands that knows nothing of what was said before, so that any
            word may begin; None if that is not a graph of a language model.
    """

    vocabulary: Vocabulary
    fst: Fst
    root: int | None = None

    @classmethod
    def load(cls, path: Path) -> PhoneGraph:
        """Reads the file of a language model's graph.

        Raises:
            GraphError: the file is damaged, or not a graph.
        """
        columns = Columns.read(path)
        arcs = np.zeros(len(columns.cost), ARC)
        arcs["ilabel"], arcs["next"] = columns.token, columns.next
        arcs["olabel"][columns.worded] = columns.word
        arcs["weight"] = columns.cost * np.float32(STEP)
        final = np.full(len(columns.arcs), np.inf, np.float32)
        final[columns.final] = columns.final_cost * np.float32(STEP)
        sources = np.repeat(np.arange(len(final), dtype=np.int32), columns.arcs)
        fst = Fst(columns.start, state_table(final, sources, arcs), arcs)
        return cls(Vocabulary.read(columns.text), fst, columns.backed_off())

    def save(self, path: Path) -> None:
        """Writes the file of a language model's graph that `Graph.load` reads.

        Costs are rounded to `STEP`.

        Raises:
            GraphError: a cost is too large.
        """
        self.columns.write(path)

    @property
    def columns(self) -> Columns:
        """The same with costs rounded to `STEP`.

        Raises:
            GraphError: a cost is too large.
        """
        states, arcs = self.fst.states, self.fst.arcs
        final, worded = np.flatnonzero(np.isfinite(states["final"])), np.flatnonzero(arcs["olabel"])
        return Columns(
            self.fst.start,
            self.vocabulary.text[:],
            states["arcs"],
            final,
            to_steps(states["final"][final]),
            arcs["ilabel"].astype(np.uint8),
            worded,
            arcs["olabel"][worded],
            to_steps(arcs["weight"]),
            arcs["next"],
        )


def break_off(root: int | None) -> float:
    """What it costs at most to end: a language model's sentence can be broken off anywhere.

    Infinite in a grammar, whose graph has no root.
    """
    return math.inf if root is None else BREAK_OFF


def broken_off(final: NDArray[np.float32]) -> NDArray[np.float32]:
    """What it costs to end if what is said may be broken off anywhere."""
    return np.minimum(final, BREAK_OFF)


def rounded(fst: Fst) -> Fst:
    """Rounds costs as `PhoneGraph.save` does; more states are equal then."""
    states, arcs = fst.states.copy(), fst.arcs.copy()
    states["final"] = np.round(states["final"] / STEP) * STEP
    arcs["weight"] = np.round(arcs["weight"] / STEP) * STEP
    return Fst(fst.start, states, arcs)
