"""The file of a search graph: columns of numbers in an `.npz` archive with LZMA compression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.decoding.lexicon import TOKENS
from asr.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Progress = Callable[[float], None]

FORMAT = 1
"""Version of the files."""

MOST_OF_A_STATE = np.iinfo(np.uint16).max
"""Arcs, in a file."""

NAMES = (
    "start", "vocabulary", "arcs", "final", "final_cost", "ilabel", "word_at", "word", "cost",
    "next",
)  # fmt: skip
"""Of the arrays in a file, in the order of `Columns`."""

STEP = 1 / 32
"""Costs are stored as multiples of this, in 16 bits."""

NEVER = np.iinfo(np.int16).max
"""The cost of an arc that cannot be taken."""


@dataclass(frozen=True)
class Columns:
    """A graph as it lies in a file: S states and A arcs, those of a state together.

    Attributes:
        start: the start state.
        text: of the vocabulary.
        arcs: [S], how many each state has.
        final: the states that can be the end.
        final_cost: what ending costs in each of them, in `STEP`.
        token: [A], what each arc takes, 0 for nothing.
        worded: the arcs that give a word.
        word: the label of the word of each of them.
        cost: [A], in `STEP`.
        next: [A], the state that each leads to.
    """

    start: int
    text: NDArray[np.uint8]
    arcs: NDArray[np.integer[Any]]
    final: Ints
    final_cost: NDArray[np.int16]
    token: NDArray[np.uint8]
    worded: Ints
    word: NDArray[np.int32]
    cost: NDArray[np.int16]
    next: NDArray[np.int32]

    @classmethod
    def read(cls, path: Path, progress: Progress | None = None) -> Columns:
        """Reads what `write` wrote.

        Args:
            path: the file.
            progress: is told the share that is done, in [0, 1].

        Raises:
            GraphError: the file is damaged, or not a graph.
        """
        stored = _read(path, progress)
        for name in ("final", "word_at"):
            np.cumsum(stored[name], out=stored[name])
        stored["next"] += np.arange(len(stored["next"]), dtype=np.int32)
        columns = cls(int(stored.pop("start")), *stored.values())
        if not columns._fit():
            raise GraphError(f"{path} is damaged: its arcs lead nowhere; get the file again")
        return columns

    def _fit(self) -> bool:
        states, arcs = len(self.arcs), len(self.cost)
        places = (
            (self.start, states), (self.final, states), (self.worded, arcs), (self.next, states),
            (self.token, len(TOKENS)), (self.word, (self.text == ord("\n")).sum() + 1),
        )  # fmt: skip
        return (
            self.arcs.sum() == arcs == len(self.token) == len(self.next)
            and len(self.final) == len(self.final_cost)
            and len(self.worded) == len(self.word)
            and all((np.diff(at) > 0).all() for at in (self.final, self.worded))
            and all(np.min(at, initial=0) >= 0 for at, _ in places)
            and all(np.max(at, initial=0) < end for at, end in places)
        )

    def write(self, path: Path) -> None:
        """Writes a file, in which what is sparse is kept as the steps between its places.

        Raises:
            GraphError: a state has more arcs than the file can say.
        """
        if (most := self.arcs.max(initial=0)) > MOST_OF_A_STATE:
            raise GraphError(
                f"a state of the graph has {most} arcs, at most {MOST_OF_A_STATE} can be"
            )
        stored = {
            "format": np.array(FORMAT),
            "start": np.array(self.start),
            "vocabulary": self.text,
            "arcs": self.arcs.astype(np.uint16),
            "final": np.diff(self.final, prepend=0),
            "final_cost": self.final_cost,
            "ilabel": self.token,
            "word_at": np.diff(self.worded, prepend=0),
            "word": self.word,
            "cost": self.cost,
            "next": self.next - np.arange(len(self.next), dtype=np.int32),
        }
        import zipfile

        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
            for name, column in stored.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, column)

    def backed_off(self) -> int:
        """The state of a language model's graph that backing off from the start ends in.

        Raises:
            GraphError: it never ends.
        """
        state, seen = self.start, set[int]()
        while self.arcs[state] and self.token[first := int(self.arcs[:state].sum())] == 0:
            if state in seen:
                raise GraphError("the graph is damaged: backing off never ends; get the file again")
            seen.add(state)
            state = int(self.next[first])
        return state


def _read(path: Path, progress: Progress | None) -> dict[str, NDArray[Any]]:
    """The arrays of a file."""
    try:
        with np.load(path) as archive:
            if (version := archive["format"]) != FORMAT:
                raise GraphError(
                    f"{path} has format {version}, this version reads {FORMAT}: "
                    "build the graph again with `asr graph`"
                )
            stored = {}
            for done, name in enumerate(NAMES, 1):
                stored[name] = archive[name]
                if progress:
                    progress(done / len(NAMES))
    except GraphError:
        raise
    except Exception as error:  # damaged archives raise nearly anything
        raise GraphError(f"{path} is not a graph, or damaged: {error}") from error
    return stored


def to_steps(costs: NDArray[np.float32]) -> NDArray[np.int16]:
    """Rounds costs in nats to multiples of `STEP`; an infinite one becomes `NEVER`."""
    steps = np.round(np.asarray(costs) / STEP)
    if (large := (np.abs(steps) >= NEVER) & np.isfinite(steps)).any():
        most = STEP * (NEVER - 1)
        raise GraphError(f"a cost of {costs[large][0]:g} nats is too much, {most:g} can be")
    return np.where(np.isfinite(steps), steps, NEVER).astype(np.int16)
