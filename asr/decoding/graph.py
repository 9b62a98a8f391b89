"""Search graphs as the search walks through them.

What ships (`asr.decoding.phone_graph`) is unpacked into the user's cache on first use. There it
stays: arcs are read as a search comes by, and those that were read last are kept; words are read
when they are said.
"""

from __future__ import annotations

import mmap
import os
from collections import deque
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.bundle import describe
from asr.decoding.fst import ranges
from asr.decoding.hypothesis import BLANK, STATE_BITS, TOKEN_BITS
from asr.decoding.phone_graph import NEVER, STEP, PhoneGraph, break_off, to_steps
from asr.decoding.stored import Stored
from asr.decoding.vocabulary import Vocabulary
from asr.errors import GraphError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from asr.decoding.phone_graph import Progress

    Ints = NDArray[np.integer[Any]]
    Floats = NDArray[np.float32]

CACHE_FORMAT = 3
"""Version of the files in the cache."""

ROOM = 1 << 17
"""Behind the arcs in the cache is room for so many more. The file has a hole there, which takes no
space on most disks."""

MOST_ARCS = 1 << STATE_BITS
"""So many arcs, and therefore states, a search can tell apart."""

PACKED = np.dtype([("key", np.uint32), ("cost", np.int16)])
"""An arc of `Graph`. Its key has, from the lowest bit on, the token that it takes, the state that
it leads to, and two flags; its cost is in `STEP`."""

GIVES, LAST = 1 << 30, 1 << 31
"""Flags of an arc that gives a word, and of the last one of a state."""

END = (1 << TOKEN_BITS) - 1
"""The token of an arc that leads nowhere: what it costs is what it costs to end in its state."""


@dataclass(frozen=True)
class Graph:
    """A graph to search in: an array of A arcs, in which those of a state lie together.

    A state is the place of its first arc. First comes what it costs to end there, if it can be the
    end, then arcs without a phone, then those with one. Behind all is one more arc, which leads to
    the start from nowhere.

    Attributes:
        vocabulary: its words.
        root: as that of `PhoneGraph`; if there is one it is 0. Its second arc cannot be taken, and
            can become one that takes no phone.
        arcs: [A + 1] of `PACKED`, in memory or in the cache.
        word: [A], the label of the word that an arc gives; 0 for none.
        stored: where the arcs lie in the cache, with room behind them; None if they do not.
        kept: for each thread that walks through arcs in the cache at the same time, those that it
            read last; see `asr.decoding.passing.compiled`.
    """

    vocabulary: Vocabulary
    root: int | None
    arcs: NDArray[np.void] | Stored = field(repr=False)
    word: NDArray[np.uint32] | Stored = field(repr=False)
    stored: Stored | None = field(default=None, repr=False, compare=False)
    kept: deque[object] = field(default_factory=deque, repr=False, compare=False)

    @classmethod
    def of(cls, graph: PhoneGraph) -> Graph:
        """Takes over a graph of phones; costs are rounded to `STEP`.

        Raises:
            GraphError: it is too large, or a cost is.
        """
        fst, root = graph.fst, graph.root or 0
        number = np.arange(len(fst.states), dtype=np.int32)
        number[[0, root]] = root, 0  # of each state, and the state of each number
        final, count = fst.states["final"][number], fst.states["arcs"][number]
        more = (np.isfinite(final) | (count == 0)).astype(np.int32)
        more[0] = 2
        size = len(fst.arcs) + int(more.sum())
        if size + ROOM > MOST_ARCS:
            raise GraphError(f"the graph has {size} arcs, at most {MOST_ARCS - ROOM} can be")
        total = (more + count).astype(np.int32)
        end = np.cumsum(total, dtype=np.int32)
        first = end - total
        begin = first[number]
        moved = begin + more[number] - fst.states["first"].astype(np.int32)
        place = np.arange(len(fst.arcs), dtype=np.int32)
        place += np.repeat(moved, fst.states["arcs"])
        word = np.zeros(size, np.uint32)
        word[place] = fst.arcs["olabel"]
        arcs = np.zeros(size + 1, PACKED)
        arcs["key"][place] = begin[fst.arcs["next"]]
        arcs["key"] <<= TOKEN_BITS
        arcs["key"][place] |= fst.arcs["ilabel"].astype(np.uint32)
        arcs["key"][:-1] |= (word > 0) * np.uint32(GIVES)
        arcs["cost"][place] = to_steps(fst.arcs["weight"])
        ends = first[more > 0]
        arcs["key"][ends], arcs["cost"][ends] = END, to_steps(final[more > 0])
        arcs["key"][1], arcs["cost"][1] = END, NEVER
        arcs["key"][end - 1] |= np.uint32(LAST)
        arcs[-1:] = pack(np.zeros(1, int), BLANK, 0, 0.0, begin[fst.start])
        return cls(graph.vocabulary, None if graph.root is None else 0, arcs, word)

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

    @property
    def start(self) -> int:
        """The state in which nothing was said."""
        return int(self.keys(np.array([-1]))[0]) >> TOKEN_BITS

    @property
    def identity(self) -> str | None:
        """Tells the graph of a file, and the numbers of its states, from all others."""
        return Path(self.stored.file.name).name if self.stored else None

    def _column(self, name: str, arcs: Ints) -> NDArray[Any]:
        """The keys, or the costs, of some arcs."""
        if isinstance(self.arcs, Stored):
            return self.arcs[arcs][name]
        return self.arcs[name][arcs]

    def keys(self, arcs: Ints) -> NDArray[np.int64]:
        """The states that some arcs lead to, and in the lowest bits the tokens that they take."""
        return self._column("key", arcs).astype(np.int64) & (GIVES - 1)

    def costs(self, arcs: Ints) -> Floats:
        """What some arcs cost, in nats."""
        costs: Floats = self._column("cost", arcs) * np.float32(STEP)
        return costs

    def gives(self, arcs: Ints) -> NDArray[np.bool_]:
        """Whether some arcs give a word."""
        given: NDArray[np.bool_] = self._column("key", arcs) & np.uint32(GIVES) > 0
        return given

    def words(self, arcs: Ints) -> NDArray[np.uint32]:
        """The labels of the words that some arcs give; 0 for none."""
        words = np.zeros(len(arcs), np.uint32)
        given = self.gives(arcs).nonzero()[0]
        if len(given):
            words[given] = self.word[arcs[given]]
        return words

    @cached_property
    def places(self) -> tuple[int, int, int, NDArray[np.uint32]]:
        """Where `word` lies: number, first byte and size of a file, then what is in memory."""
        if not isinstance(self.word, Stored):
            return -1, 0, 0, self.word
        behind = np.empty(0, np.uint32) if self.word.behind is None else self.word.behind
        return self.word.file.fileno(), self.word.begin, self.word.size, behind

    @property
    def break_off(self) -> float:
        """See `asr.decoding.phone_graph.break_off`."""
        return break_off(self.root)

    def finals(self, states: Ints) -> Floats:
        """What it costs to end in some states, `break_off` where no sentence ends."""
        most = np.float32(self.break_off)
        final = np.full(len(states), most)
        ends = (self._column("key", states) & END == END).nonzero()[0]
        steps = self._column("cost", states[ends])
        final[ends] = np.where(steps < NEVER, np.minimum(steps * np.float32(STEP), most), most)
        return final

    def arcs_of(self, states: Ints) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Enumerates the arcs of some states [k]: whose each is, as a place in `states`; which."""
        count, going, most = np.zeros(len(states), np.int64), np.arange(len(states)), 4
        while len(going):
            places = states[going, None] + np.arange(most)
            last = self._column("key", np.minimum(places, len(self.arcs) - 1)) >= LAST
            count[going] = last.argmax(axis=1) + 1
            going = going[~last[np.arange(len(going)), count[going] - 1]]
            most *= 16
        return ranges(states, count)

    def mapped(self) -> Graph:
        """The same with its arcs mapped into memory, for those who look at many at once."""
        if self.stored is None:
            return self
        arcs = self.stored.mapped(mmap.ACCESS_READ, ROOM)[: len(self.stored)]
        return replace(self, arcs=arcs)

    def extended(
        self,
        vocabulary: Vocabulary,
        entry: np.void,
        arcs: NDArray[np.void],
        words: NDArray[np.uint32],
    ) -> Graph:
        """A graph of its own with more words, and more arcs at the end.

        This graph is not changed by that, and only what is new takes memory if it lies in a file.

        Args:
            vocabulary: that of this graph or one that continues it.
            entry: of `PACKED`, the arc that the root gets.
            arcs: [n] of `PACKED`. The first is at the place of what was the arc from nowhere, which
                comes behind them all.
            words: [n], the labels of the words that they give.

        Raises:
            GraphError: there is no room for so many.
        """
        if len(arcs) > ROOM:
            raise GraphError(f"{len(arcs)} phones are too many to add, {ROOM} can be")
        if self.stored is None:
            made = np.append(self.arcs[:], np.zeros(len(arcs), PACKED))
        else:
            made = self.stored.mapped(mmap.ACCESS_COPY, len(arcs))
        made[1] = entry
        made[len(self.arcs) - 1 :] = np.append(arcs, self.arcs[-1:])
        if isinstance(self.word, Stored):
            word: Stored | NDArray[np.uint32] = self.word.extended(words)
        else:
            word = np.append(self.word, words)
        return Graph(vocabulary, self.root, made, word)


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


def cache_folder() -> Path:
    """Where unpacked graphs are kept: rill/ in XDG_CACHE_HOME, or in .cache of the home folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rill"


def _unpack(path: Path, target: Path, progress: Progress | None) -> None:
    from tempfile import TemporaryDirectory

    graph = Graph.of(PhoneGraph.load(path, progress))
    vocabulary = graph.vocabulary
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent) as folder:
            unpacked = Path(folder) / target.name
            with unpacked.open("wb") as file:
                for array in (vocabulary.text, vocabulary.ends, graph.word):
                    Stored.write(file, array[:])
                Stored.write(file, graph.arcs[:], ROOM)
            unpacked.replace(target)
    except OSError as error:
        raise GraphError(
            f"cannot unpack the graph {path} into {target.parent}: {error.strerror}; make room "
            "there, or name another folder in the environment variable XDG_CACHE_HOME"
        ) from error


def _opened(cached: Path) -> Graph:
    from asr.decoding.passing import COMPILED

    file = cached.open("rb")
    try:
        text, ends, word, arcs = (Stored.read(file) for _ in range(4))
        arcs.mapped(mmap.ACCESS_READ, ROOM)  # if it can be
    except ValueError:
        file.close()
        raise
    graph = Graph(Vocabulary(text, ends), 0, arcs, word, arcs)
    return graph if COMPILED else graph.mapped()


def _digest(path: Path) -> str:
    try:
        return describe(path)[1]
    except OSError as error:
        raise GraphError(f"cannot read the graph {path}: {error.strerror}") from error
