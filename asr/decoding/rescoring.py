"""A search whose hypotheses a recurrent language model decides between.

A graph can hold what follows two words; a recurrent model knows the whole sentence, but has to be
asked about each. So the search in the graph proposes, and its best hypotheses are weighed again
with both models, as a product of powers (log-linear interpolation, Klakow 1998). Of these it is not
the likeliest that is taken, but the one with the fewest expected errors (`asr.decoding.risk`).

That is not left to the end of a segment: words that three others follow are settled, and the search
goes on behind them, in the state of the graph that they have led to. So words become stable while
the speaker is talking, and a decision costs the same however long the segment is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.decoding.nbest import ways
from asr.decoding.risk import fewest_errors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from asr.decoding.hypothesis import Texts, Words
    from asr.decoding.language import LanguageModel, Read
    from asr.decoding.nbest import Hypothesis, Way
    from asr.decoding.search import GraphSearch, GraphState

    Floats = NDArray[np.float32]

DEPTH = 100
"""So many hypotheses are weighed: as many as there can be alternatives (`asr.task`)."""
WITHIN = 8.0
"""Hypotheses that cost the search so much more than the best are not weighed, in nats."""
LOOK = 24
"""Frames between two looks at what can be settled."""
BEHIND = 3
"""Words that have to be heard behind a word before it is settled; the last may still be spoken."""
OPEN = 80
"""Nothing is settled before so many frames are open."""


@dataclass(frozen=True)
class RescoredState:
    """Where a search stands; frames count from the first of the segment.

    Attributes:
        search: that made it.
        chunks: log-probabilities of all frames so far.
        settled: words that will not change.
        read: the same as the language model knows them.
        open: state of the search in the graph behind them; None before the first frame.
        begin: the first frame of that.
    """

    search: RescoredSearch
    chunks: tuple[Floats, ...] = ()
    settled: Words = ()
    read: Read | None = field(default=None, repr=False)
    open: GraphState | None = field(default=None, repr=False)
    begin: int = 0

    @property
    def log_probs(self) -> Floats:
        """All frames so far, [T, V]."""
        return np.concatenate(self.chunks)

    @cached_property
    def ranked(self) -> list[Way]:
        """The ways to go on behind what is settled if nothing follows.

        First comes the one that is taken, then the others, the likeliest first.
        """
        return self.search.ranked(self, over=True)

    @cached_property
    def best(self) -> GraphState:
        """The state of the search in the graph if nothing follows, by the best of them."""
        return self.ranked[0].state(self.open or self.search.search.start())


@dataclass(frozen=True)
class RescoredSearch:
    """Search in a graph, and in its hypotheses by a language model.

    Attributes:
        search: in the graph.
        model: of the language.
        scale: weight of the model; the graph's language model has the rest.
        settling: words become stable while more is said. Otherwise all stays open to the end.
    """

    search: GraphSearch
    model: LanguageModel
    scale: float
    settling: bool = True

    def start(self, after: int | None = None) -> RescoredState:
        """Where it stands before the first frame; see `GraphSearch.start`."""
        return RescoredState(self, open=self.search.start(after))

    def step(
        self, log_probs: Floats, state: RescoredState | None = None
    ) -> tuple[Texts, RescoredState]:
        """Goes on by T frames; see `GraphSearch.step`."""
        state = state or RescoredState(self)
        begin = 0
        heard = sum(map(len, state.chunks))
        while True:
            end = min(len(log_probs), begin + LOOK - (heard + begin) % LOOK)
            chunk = log_probs[begin:end]
            texts, reached = self.search.step(chunk, state.open)
            state = replace(state, chunks=(*state.chunks, chunk), open=reached)
            if self.settling and (heard + end) % LOOK == 0 and _due(reached):
                texts, state = self._settled(texts, state)
            begin = end
            if begin == len(log_probs):
                return (*(word.text for word in state.settled), *texts), state

    def words(self, state: RescoredState) -> Words:
        """The best words so far with their frames."""
        open_words = self.search.words(state.open) if state.open else ()
        return (*state.settled, *_moved(open_words, state.begin))

    def onset(self, state: RescoredState) -> int | None:
        """The first frame of the best words so far."""
        if state.settled:
            return state.settled[0].start
        return self.search.onset(state.open) if state.open else None

    def finish(self, state: RescoredState) -> Words:
        """The best words if nothing follows."""
        best = self.search.words(state.best)
        return (*state.settled, *_moved(best, state.begin))

    def alternatives(self, state: RescoredState, n: int) -> list[Hypothesis]:
        """The n best hypotheses if nothing follows; see `asr.decoding.nbest.alternatives`.

        The one that is taken comes first, even if another is likelier.
        """
        reached = state.open or self.search.start()
        found = [way.hypothesis(self.search, reached) for way in state.ranked[:n]]
        return [
            replace(one, words=(*state.settled, *_moved(one.words, state.begin))) for one in found
        ]

    def stable(self, state: RescoredState) -> int:
        """How many of the words will not change."""
        return len(state.settled)

    def behind(self, state: RescoredState, count: int) -> int | None:
        """The state of the graph that the first words lead to; see `GraphSearch.behind`."""
        if count == len(state.settled):
            return state.open.after if state.open else None
        return self.search.behind(state.best, count - len(state.settled))

    def ranked(self, state: RescoredState, *, over: bool) -> list[Way]:
        """The ways to go on behind what is settled; see `RescoredState.ranked`.

        Args:
            state: where the search stands.
            over: nothing follows.
        """
        reached = state.open or self.search.start()
        found = ways(self.search, reached, DEPTH, WITHIN, over=over)
        said = [self.model.ids(way.hashes(self.search.graph)).tolist() for way in found]
        spoken = self.model.scores(said, before=state.read, over=over)
        change = self.scale * (spoken - spoken.max() + self._costs(found))
        scores = np.array([way.score for way in found]) + change
        order = np.argsort(-scores, kind="stable").tolist()
        taken = order[fewest_errors([said[one] for one in order], scores[order])]
        return [
            replace(found[one], score=float(scores[one]))
            for one in sorted(order, key=lambda one: one != taken)
        ]

    def _costs(self, found: list[Way]) -> NDArray[np.float64]:
        """What each way costs in the graph. They share most of their arcs, which are read once."""
        arcs, place = np.unique(np.concatenate([way.arcs for way in found]), return_inverse=True)
        whose = np.arange(len(found)).repeat([len(way.arcs) for way in found])
        total = np.zeros(len(found))
        np.add.at(total, whose, self.search.graph.costs(arcs)[place])
        return total

    def _settled(self, texts: Texts, state: RescoredState) -> tuple[Texts, RescoredState]:
        """Settles what lies far enough back; and the words that are open then."""
        reached: Any = state.open
        way = self.ranked(state, over=False)[0]
        best = way.state(reached)
        found = self.search.words(best)
        count = len(found) - BEHIND
        after = self.search.behind(best, count)
        if after is None:
            return texts, state
        end = found[count - 1].end
        texts, reached = self.search.step(reached.log_probs[end:], self.search.start(after))
        settled = (*state.settled, *_moved(found[:count], state.begin))
        said = self.model.ids(way.hashes(self.search.graph)[:count]).tolist()
        read = self.model.read(state.read or self.model.begun, said)
        state = replace(state, settled=settled, read=read, open=reached, begin=state.begin + end)
        return texts, state


def _due(state: GraphState) -> bool:
    """Whether there is something to settle."""
    return state.frames >= OPEN and len(state.reading.words) > BEHIND


def _moved(words: Words, frames: int) -> Words:
    return tuple(replace(word, start=word.start + frames, end=word.end + frames) for word in words)
