"""Search graphs: as they ship, and as the search walks through them.

What ships is an `.npz` archive with LZMA compression. On first use it is unpacked into the user's
cache, from where it is mapped into memory: processes share it, and only what is used of it is read.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import zipfile
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from asr.decoding.fst import ARC, Fst, state_table
from asr.decoding.hypothesis import STATE_BITS
from asr.decoding.lexicon import TOKENS
from asr.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from asr.decoding.lexicon import Lexicon, Pronunciation

    Arrays = dict[str, NDArray[Any]]
    Progress = Callable[[float], None]
    Ways = tuple[tuple[int, ...], ...]

FORMAT = 1
"""Version of the files that ship."""

CACHE_FORMAT = 2
"""Version of the files in the cache."""

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

ROOM = 1 << 17
"""Behind each of them is room for what so many more states and arcs need. The file has a hole
there, which takes no space on most disks."""

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
        base: the vocabulary that this one continues.
    """

    text: NDArray[np.uint8] = field(repr=False)
    base: Vocabulary | None = field(default=None, repr=False)
    _known: dict[int, tuple[str, Ways]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, lexicon: Lexicon) -> Vocabulary:
        """Takes over all words of a lexicon."""
        return cls(_lines(lexicon.items()))

    def extended(self, entries: Iterable[tuple[str, Sequence[Pronunciation]]]) -> Vocabulary:
        """These words and more behind them, among which there may be words a second time."""
        return Vocabulary(_lines(entries), self)

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.text == ord("\n"))

    @cached_property
    def _offset(self) -> int:
        return len(self.base) if self.base else 0

    def __len__(self) -> int:
        return self._offset + len(self._ends)

    def __getitem__(self, label: int) -> tuple[str, Ways]:
        """The word with a label of the graph, from 1 on, and its pronunciations as token ids."""
        if self.base and label <= self._offset:
            return self.base[label]
        if label not in self._known:
            place = label - self._offset
            begin = self._ends[place - 2] + 1 if place > 1 else 0
            line = self.text[begin : self._ends[place - 1]].tobytes().decode()
            word, _, phones = line.partition(" ")
            ways = (way.split() for way in phones.split(" / "))
            self._known[label] = word, tuple(tuple(map(TOKENS.index, way)) for way in ways)
        return self._known[label]

    @cached_property
    def followers(self) -> NDArray[np.int64]:
        """How often each token follows each other in the words, [V, V]; 0 is before and behind."""
        ids = {token: place for place, token in enumerate(TOKENS)}
        tokens = [0]
        for line in self.text.tobytes().decode().splitlines():
            said = line.partition(" ")[2].partition(" / ")[0]
            tokens += [*map(ids.__getitem__, said.split()), 0]
        pairs = np.array(tokens[:-1]) * len(TOKENS) + tokens[1:]
        return np.bincount(pairs, minlength=len(TOKENS) ** 2).reshape(len(TOKENS), -1)

    def labels(self, words: Iterable[str]) -> dict[str, int]:
        """Finds the labels of those words that it has; it looks at all its words for that."""
        wanted = {word.encode() for word in words}
        found = self.base.labels(words) if self.base else {}
        for label, line in enumerate(self.text.tobytes().split(b"\n"), self._offset + 1):
            if (word := line.partition(b" ")[0]) in wanted and word:
                found[word.decode()] = label
        return found


def _lines(entries: Iterable[tuple[str, Sequence[Pronunciation]]]) -> NDArray[np.uint8]:
    lines = (f"{word} {' / '.join(map(' '.join, ways))}\n" for word, ways in entries)
    return np.frombuffer("".join(lines).encode(), np.uint8)


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
        """
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
        fst = Fst(start, state_table(final, sources, arcs), arcs)
        return cls(vocabulary, fst, backed_off(fst))


@dataclass(frozen=True)
class Graph:
    """A graph to search in, as plain arrays: S states, A arcs, those of a state together.

    One more arc, the last, leads to the start from nowhere.

    Attributes:
        vocabulary: its words.
        start: the state in which nothing was said.
        root: as that of `PhoneGraph`; if there is one it is 0, and arc 0 is nobody's: it can become
            an arc of the root that takes no phone.
        first: [S + 1], the first arc of each state.
        epsilons: [S], how many of its arcs take no phone; they come first.
        label: [A + 1], the phone that an arc takes, as token id.
        cost: [A + 1], in nats.
        next: [A + 1], the state that an arc leads to.
        word: [A + 1], the label of the word that an arc gives; 0 for none.
        final: [S], what it costs to end in a state; infinite where no sentence of a grammar ends.
        file: where all that lies, with room behind each array; None if it lies in memory.
    """

    vocabulary: Vocabulary
    start: int
    root: int | None
    first: NDArray[np.uint32] = field(repr=False)
    epsilons: NDArray[np.uint8] = field(repr=False)
    label: NDArray[np.uint8] = field(repr=False)
    cost: NDArray[np.float32] = field(repr=False)
    next: NDArray[np.uint32] = field(repr=False)
    word: NDArray[np.uint32] = field(repr=False)
    final: NDArray[np.float32] = field(repr=False)
    file: BinaryIO | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, graph: PhoneGraph) -> Graph:
        """Takes over a graph of phones."""
        if len(graph.fst.states) + ROOM > MOST_STATES:
            most = MOST_STATES - ROOM
            raise GraphError(f"the graph has {len(graph.fst.states)} states, at most {most} can be")
        fst = _begun_with(graph.root or 0, graph.fst)
        spare, last = np.zeros(0 if graph.root is None else 1, ARC), np.zeros(1, ARC)
        last["next"] = fst.start
        arcs = np.concatenate([spare, fst.arcs, last])
        return cls(
            graph.vocabulary,
            fst.start,
            None if graph.root is None else 0,
            np.append(fst.states["first"], np.uint32(len(fst.arcs))) + np.uint32(len(spare)),
            fst.states["iepsilons"].astype(np.uint8),
            arcs["ilabel"].astype(np.uint8),
            arcs["weight"].astype(np.float32),
            arcs["next"].astype(np.uint32),
            arcs["olabel"].astype(np.uint32),
            fst.states["final"] if graph.root is None else broken_off(fst.states["final"]),
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
        cached = cache_folder() / f"{_digest(path)}-{CACHE_FORMAT}"
        try:
            return _opened(cached)
        except (OSError, ValueError):  # not there, or cut short
            _unpack(path, cached, progress)
        return _opened(cached)

    def extended(self, vocabulary: Vocabulary, states: int, arcs: int) -> Graph:
        """A graph of its own with more words, and room for more states and arcs at the end.

        What is written to its arrays does not change this graph, and only what is written takes
        memory of its own if this graph lies in a file.

        Args:
            vocabulary: that of this graph or one that continues it.
            states: how many more there shall be.
            arcs: the same; what was the arc from nowhere becomes the first of them, and the last
                arc of all is for the caller to make one from nowhere to the start.

        Raises:
            GraphError: there is no room for so many.
        """
        if max(states, arcs) > ROOM:
            raise GraphError(f"{max(states, arcs)} phones are too many to add, {ROOM} can be")
        if self.file is None:
            columns: dict[str, Any] = {
                name: np.append(column := getattr(self, name), np.zeros(more, column.dtype))
                for name, more in _more(states, arcs).items()
            }
        else:
            columns = _mapped(self.file, mmap.ACCESS_COPY, _more(states, arcs))
        columns.update(vocabulary=vocabulary, start=self.start, file=None)
        return replace(self, **columns)


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
                    column = np.atleast_1d(value)
                    file.write(bytes(-file.tell() % PAGE))
                    np.lib.format.write_array(file, column)
                    file.seek(ROOM * column.itemsize, os.SEEK_CUR)
                file.truncate()
            unpacked.replace(target)
    except OSError as error:
        raise GraphError(
            f"cannot unpack the graph {path} into {target.parent}: {error.strerror}; make room "
            "there, or name another folder in the environment variable XDG_CACHE_HOME"
        ) from error


def _opened(cached: Path) -> Graph:
    file = cached.open("rb")
    try:
        columns = _mapped(file, mmap.ACCESS_READ, {})
    except ValueError:
        file.close()
        raise
    vocabulary, start = Vocabulary(columns.pop("vocabulary")), int(columns.pop("start")[0])
    return Graph(vocabulary, start, 0, file=file, **columns)


def _mapped(file: BinaryIO, access: int, more: Mapping[str, int]) -> dict[str, Any]:
    """Maps what `_unpack` wrote, and so much `more` of the room behind each array."""
    memory = mmap.mmap(file.fileno(), 0, access=access)
    columns = {}
    for name in UNPACKED:
        memory.seek(-memory.tell() % PAGE, os.SEEK_CUR)
        np.lib.format.read_magic(memory)
        (size,), _, dtype = np.lib.format.read_array_header_1_0(memory)
        begin = memory.tell()
        columns[name] = np.frombuffer(memory, dtype, size + more.get(name, 0), begin)
        memory.seek(begin + (size + ROOM) * dtype.itemsize)
    return columns


def _more(states: int, arcs: int) -> dict[str, int]:
    """How much longer each array is with so many more states and arcs."""
    of_states = dict.fromkeys(("first", "epsilons", "final"), states)
    return of_states | dict.fromkeys(("label", "cost", "next", "word"), arcs)


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


def _begun_with(state: int, fst: Fst) -> Fst:
    """The same with a state as number 0, and the arcs of each in the order of their labels."""
    number = np.arange(len(fst.states))
    number[[0, state]] = state, 0
    arcs = fst.arcs.copy()
    arcs["next"] = number[arcs["next"]]
    return Fst.of(int(number[fst.start]), fst.states["final"][number], number[fst.sources], arcs)


def rounded(fst: Fst) -> Fst:
    """Rounds costs as `PhoneGraph.save` does; more states are equal then."""
    states, arcs = fst.states.copy(), fst.arcs.copy()
    states["final"] = np.round(states["final"] / STEP) * STEP
    arcs["weight"] = np.round(arcs["weight"] / STEP) * STEP
    return Fst(fst.start, states, arcs)


def _steps(costs: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.round(costs / STEP).astype(np.int16)
