"""Search graphs: as they ship, and as the search walks through them.

What ships is a graph of phones, an `.npz` archive with LZMA compression. On first use it is
composed with the CTC topology and kept, large but quick to load, in the user's cache.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

import kaldifst
import numpy as np

from asr.decoding.ctc import write_expanded
from asr.decoding.fst import ARC, HEADER, Fst, read_header
from asr.decoding.lexicon import TOKENS
from asr.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from asr.decoding.lexicon import Lexicon

    Progress = Callable[[float], None]
    Ways = tuple[tuple[int, ...], ...]

FORMAT = 1
"""Version of the files that ship and of those in the cache."""

STEP = 1 / 64
"""Costs are stored as multiples of this."""


@dataclass(frozen=True)
class Vocabulary:
    """The words of a graph and how they are said, kept as text until they are asked for.

    Attributes:
        lines: `word PHONE... / PHONE...` with the pronunciations after the word.
    """

    lines: tuple[str, ...] = field(repr=False)
    _known: dict[int, tuple[str, Ways]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, lexicon: Lexicon) -> Vocabulary:
        """Takes over all words of a lexicon."""
        return cls(
            tuple(f"{word} {' / '.join(map(' '.join, ways))}" for word, ways in lexicon.items())
        )

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, label: int) -> tuple[str, Ways]:
        """The word with a label of the graph, from 1 on, and its pronunciations as token ids."""
        if label not in self._known:
            word, *phones = self.lines[label - 1].split(" ")
            ways = " ".join(phones).split(" / ")
            ids = tuple(tuple(map(TOKENS.index, way.split(" "))) for way in ways)
            self._known[label] = word, ids
        return self._known[label]


@dataclass(frozen=True)
class PhoneGraph:
    """A graph as it ships: from phones, as token ids, to words, as labels of the vocabulary."""

    vocabulary: Vocabulary
    fst: Fst

    def save(self, path: Path) -> None:
        """Writes the file that `Graph.load` reads; costs are rounded to `STEP`."""
        states, arcs = self.fst.states, self.fst.arcs
        final = np.flatnonzero(np.isfinite(states["final"]))
        worded = np.flatnonzero(arcs["olabel"])
        jumps = arcs["next"].astype(np.int64) - np.arange(len(arcs))
        columns = {
            "format": np.array(FORMAT),
            "start": np.array(self.fst.start),
            "vocabulary": np.frombuffer("\n".join(self.vocabulary.lines).encode(), np.uint8),
            "arcs": states["arcs"].astype(np.uint16),
            "final": np.diff(final, prepend=0),
            "final_cost": _steps(states["final"][final]),
            "ilabel": arcs["ilabel"].astype(np.uint8),
            "word_at": np.diff(worded, prepend=0),
            "word": arcs["olabel"][worded],
            "cost": _steps(arcs["weight"]),
            "next": jumps.astype(np.int32),
        }
        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
            for name, column in columns.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, column)


def _steps(costs: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.round(costs / STEP).astype(np.int16)
