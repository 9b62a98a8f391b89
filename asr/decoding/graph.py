"""Search graphs as the search walks through them.

What ships (`asr.decoding.columns`) is unpacked into the user's cache on first use. There it
stays: arcs are read as a search comes by, and those that were read last are kept; words are read
when they are said.
"""

from __future__ import annotations

import mmap
from collections import deque
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.decoding.cache import unpacked
from asr.decoding.columns import NEVER, STEP
from asr.decoding.fst import ranges
from asr.decoding.hypothesis import TOKEN_BITS
from asr.decoding.packed import END, GIVES, LAST, PACKED, ROOM, packed
from asr.decoding.phone_graph import break_off
from asr.decoding.stored import Stored
from asr.decoding.vocabulary import Vocabulary
from asr.errors import GraphError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from asr.decoding.columns import Progress
    from asr.decoding.phone_graph import PhoneGraph

    Ints = NDArray[np.integer[Any]]
    Floats = NDArray[np.float32]


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
        vocabulary, columns = graph.vocabulary, graph.columns
        return cls(vocabulary, None if graph.root is None else 0, *packed(columns, graph.root or 0))

    @classmethod
    def load(cls, path: Path, progress: Progress | None = None) -> Graph:
        """Loads a graph; the first time it is unpacked into the cache (`asr.decoding.cache`).

        Args:
            path: a file that `PhoneGraph.save` wrote.
            progress: is told the share that is done, in [0, 1], while the graph is unpacked.

        Raises:
            GraphError: the file is damaged, or the cache cannot be written.
        """
        from asr.decoding.passing import COMPILED

        text, ends, word, arcs = unpacked(path, progress)
        graph = cls(Vocabulary(text, ends), 0, arcs, word, arcs)
        return graph if COMPILED else graph.mapped()

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

    def keys_and_costs(self, arcs: Ints) -> tuple[NDArray[np.int64], Floats]:
        """Both of some arcs, which are read once."""
        taken = self.arcs[arcs]
        return taken["key"].astype(np.int64) & (GIVES - 1), taken["cost"] * np.float32(STEP)

    def gives(self, arcs: Ints) -> NDArray[np.bool_]:
        """Whether some arcs give a word."""
        given: NDArray[np.bool_] = self._column("key", arcs) & np.uint32(GIVES) > 0
        return given

    def words(self, arcs: Ints) -> NDArray[np.uint32]:
        """The labels of the words that some arcs give; 0 for none.

        Raises:
            GraphError: the graph is damaged.
        """
        words = np.zeros(len(arcs), np.uint32)
        given = self.gives(arcs).nonzero()[0]
        if len(given):
            if arcs[given].max() >= len(self.word):
                raise GraphError("the graph is damaged: its arcs lead nowhere; get the file again")
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
        """What it costs to end in some states: 0 or more, `break_off` where no sentence ends."""
        most = np.float32(self.break_off)
        final = np.full(len(states), most)
        ends = (self._column("key", states) & END == END).nonzero()[0]
        steps = self._column("cost", states[ends])
        final[ends] = np.where(steps < NEVER, np.clip(steps * np.float32(STEP), 0, most), most)
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
