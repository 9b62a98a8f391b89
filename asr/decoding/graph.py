"""Search graphs: as they ship, and as the search walks through them.

What ships is an `.npz` archive with LZMA compression. On first use it is unpacked into the user's
cache, from where it is mapped into memory: processes share it, and only what is used of it is read.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.decoding.fst import ARC, Fst, state_table
from asr.decoding.hypothesis import STATE_BITS
from asr.decoding.lexicon import TOKENS
from asr.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from asr.decoding.lexicon import Lexicon

    Arrays = dict[str, NDArray[Any]]
    Progress = Callable[[float], None]
    Ways = tuple[tuple[int, ...], ...]

FORMAT = 1
"""Version of the files that ship and of those in the cache."""

COLUMNS = (
    "format", "start", "vocabulary", "arcs", "final", "final_cost", "ilabel", "word_at", "word",
    "cost", "next",
)  # fmt: skip
"""The arrays in a file that ships; what is sparse is kept as the steps between its places."""

UNPACKED = (
    "vocabulary", "start", "first", "epsilons", "label", "cost", "next", "word", "final",
)  # fmt: skip
"""The arrays of a file in the cache."""

PAGE = 64
"""Each of them begins at a multiple of so many bytes."""

MOST_STATES = 1 << STATE_BITS
"""So many states a search can tell apart."""

BREAK_OFF = 8.0
"""What it costs to end within a word, so that what is being said can be shown."""

STEP = 1 / 32
"""Costs are stored as multiples of this."""


@dataclass(frozen=True)
class Vocabulary:
    """The words of a graph and how they are said, kept as text until they are asked for.

    Attributes:
        text: UTF-8, a line `word PHONE... / PHONE...` for each word with its pronunciations.
    """

    text: NDArray[np.uint8] = field(repr=False)
    _known: dict[int, tuple[str, Ways]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, lexicon: Lexicon) -> Vocabulary:
        """Takes over all words of a lexicon."""
        lines = (f"{word} {' / '.join(map(' '.join, ways))}\n" for word, ways in lexicon.items())
        return cls(np.frombuffer("".join(lines).encode(), np.uint8))

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.text == ord("\n"))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, label: int) -> tuple[str, Ways]:
        """The word with a label of the graph, from 1 on, and its pronunciations as token ids."""
        if label not in self._known:
            begin = self._ends[label - 2] + 1 if label > 1 else 0
            line = self.text[begin : self._ends[label - 1]].tobytes().decode()
            word, _, phones = line.partition(" ")
            ways = (way.split(" ") for way in phones.split(" / "))
            self._known[label] = word, tuple(tuple(map(TOKENS.index, way)) for way in ways)
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
            "vocabulary": self.vocabulary.text,
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

    @classmethod
    def load(cls, path: Path, progress: Progress | None = None) -> PhoneGraph:
        """Reads what `save` wrote.

        Args:
            path: the file.
            progress: is told the share that is done, in [0, 1].

        Raises:
            GraphError: the file is damaged, or not a graph.
        """
        columns = _read(path, COLUMNS, progress)
        arcs = np.zeros(len(columns["cost"]), ARC)
        arcs["ilabel"] = columns["ilabel"]
        arcs["olabel"][np.cumsum(columns["word_at"])] = columns["word"]
        arcs["weight"] = columns["cost"] * STEP
        arcs["next"] = columns["next"] + np.arange(len(arcs))
        count = columns["arcs"].astype(np.int64)
        final = np.full(len(count), np.inf, np.float32)
        final[np.cumsum(columns["final"])] = columns["final_cost"] * STEP
        vocabulary = Vocabulary(columns["vocabulary"])
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
        sources = np.repeat(np.arange(len(count)), count)
        return cls(vocabulary, Fst(start, state_table(final, sources, arcs), arcs))


@dataclass(frozen=True)
class Graph:
    """A graph to search in, as plain arrays: S states, A arcs, those of a state together.

    One more arc, the last, leads to the start from nowhere.

    Attributes:
        vocabulary: its words.
        start: the state in which nothing was said.
        first: [S + 1], the first arc of each state.
        epsilons: [S], how many of its arcs take no phone; they come first.
        label: [A + 1], the phone that an arc takes, as token id.
        cost: [A + 1], in nats.
        next: [A + 1], the state that an arc leads to.
        word: [A + 1], the label of the word that an arc gives; 0 for none.
        final: [S], what it costs to end in a state.
    """

    vocabulary: Vocabulary
    start: int
    first: NDArray[np.uint32] = field(repr=False)
    epsilons: NDArray[np.uint8] = field(repr=False)
    label: NDArray[np.uint8] = field(repr=False)
    cost: NDArray[np.float32] = field(repr=False)
    next: NDArray[np.uint32] = field(repr=False)
    word: NDArray[np.uint32] = field(repr=False)
    final: NDArray[np.float32] = field(repr=False)

    @classmethod
    def of(cls, graph: PhoneGraph) -> Graph:
        """Takes over a graph of phones."""
        fst = Fst.of(graph.fst.start, graph.fst.states["final"], graph.fst.sources, graph.fst.arcs)
        states, arcs = fst.states, np.append(fst.arcs, np.zeros(1, ARC))
        arcs["next"][-1] = fst.start
        if len(states) > MOST_STATES:
            raise GraphError(f"the graph has {len(states)} states, at most {MOST_STATES} can be")
        return cls(
            graph.vocabulary,
            fst.start,
            np.append(states["first"], np.uint32(len(fst.arcs))),
            states["iepsilons"].astype(np.uint8),
            arcs["ilabel"].astype(np.uint8),
            arcs["weight"].astype(np.float32),
            arcs["next"].astype(np.uint32),
            arcs["olabel"].astype(np.uint32),
            np.minimum(states["final"], BREAK_OFF),
        )

    @classmethod
    def load(cls, path: Path, progress: Progress | None = None) -> Graph:
        """Loads a graph; the first time it is unpacked into the cache.

        Several processes may do so at once: each writes a folder of its own and renames it.

        Args:
            path: a file that `PhoneGraph.save` wrote.
            progress: is told the share that is done, in [0, 1], while the graph is unpacked.

        Raises:
            GraphError: the file is damaged, or the cache cannot be written.
        """
        cached = cache_folder() / f"{_digest(path)}-{FORMAT}"
        try:
            return _mapped(cached)
        except (OSError, ValueError):  # not there, or cut short
            _unpack(path, cached, progress)
        return _mapped(cached)


def cache_folder() -> Path:
    """Where unpacked graphs are kept: rill/ in XDG_CACHE_HOME, or in .cache of the home folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rill"


def _unpack(path: Path, target: Path, progress: Progress | None) -> None:
    graph = Graph.of(PhoneGraph.load(path, progress))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent) as folder:
            unpacked = Path(folder) / target.name
            with unpacked.open("wb") as file:
                for name in UNPACKED:
                    value = graph.vocabulary.text if name == "vocabulary" else getattr(graph, name)
                    file.write(bytes(-file.tell() % PAGE))
                    np.lib.format.write_array(file, np.atleast_1d(value))
            unpacked.replace(target)
    except OSError as error:
        raise GraphError(
            f"cannot unpack the graph {path} into {target.parent}: {error.strerror}; make room "
            "there, or name another folder in the environment variable XDG_CACHE_HOME"
        ) from error


def _mapped(cached: Path) -> Graph:
    """Maps what `_unpack` wrote: arrays one after the other, each from a multiple of PAGE on."""
    columns: Arrays = {}
    with cached.open("rb") as file:
        for name in UNPACKED:
            file.seek(-file.tell() % PAGE, os.SEEK_CUR)
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            column = np.memmap(cached, dtype, "r", file.tell(), shape)
            columns[name] = np.asarray(column)
            file.seek(column.nbytes, os.SEEK_CUR)
    vocabulary, start = Vocabulary(columns.pop("vocabulary")), int(columns.pop("start")[0])
    return Graph(vocabulary, start, **columns)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise GraphError(f"cannot read the graph {path}: {error.strerror}") from error


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


def rounded(fst: Fst) -> Fst:
    """Rounds costs as `PhoneGraph.save` does; more states are equal then."""
    states, arcs = fst.states.copy(), fst.arcs.copy()
    states["final"] = np.round(states["final"] / STEP) * STEP
    arcs["weight"] = np.round(arcs["weight"] / STEP) * STEP
    return Fst(fst.start, states, arcs)


def _steps(costs: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.round(costs / STEP).astype(np.int16)
