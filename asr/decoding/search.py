"""The search in a graph: the best words for log-probabilities as they come."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from asr.decoding.confidence import FEATURES, rated
from asr.decoding.hypothesis import TOKEN_BITS
from asr.decoding.lexicon import TOKENS
from asr.decoding.passing import NO_STEPS, TOKEN, Beam, History, start, walk
from asr.decoding.phone_graph import BREAK_OFF
from asr.decoding.reading import NOTHING, Reading, read
from asr.errors import GraphError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from asr.decoding.graph import Graph
    from asr.decoding.hypothesis import Texts, Words
    from asr.decoding.passing import Given

    Floats = NDArray[np.float32]

NO_FRAMES = np.zeros((0, len(TOKENS)), np.float32)
ROOM = 1000
"""Steps of a history, beside those that count, before it is cleaned."""
LARGEST = 1e9
"""Of all numbers among the options."""
GRAMMAR_BEAM = 20.0
"""A grammar leaves few ways, so that a beam costs little that loses no sentence."""
GRAMMAR_ACTIVE = 3000
"""`max_active` in grammars, at least, for the same reason."""
GRAMMAR_PRIORS = 0.2
"""`prior_scale` in grammars, at most. It makes up for what a model of the language is unsure of."""


@dataclass(frozen=True)
class SearchOptions:
    """What the search in a graph can be told.

    The score of a token in a frame is acoustic_scale * (log P(token) - prior_scale * log prior): as
    a model of little data leans to what is frequent, blank first of all, part of that is taken off
    (Miao, Gowayyed and Metze, "EESEN", ASRU 2015).

    Attributes:
        beam: paths whose score is this much below the best are given up.
        max_active: at most this many paths survive a frame.
        acoustic_scale: weight of the acoustic model against the graph.
        prior_scale: how much of the priors is taken off.
        priors: share of the frames that each of the V tokens has; none if empty.
        doubt: `Spans.deficit` at which a grammar's sentence is as likely said as not, and how fast
            doubt grows there; docs/grammars.md says how they are found.
        word_confidence: weights of `asr.decoding.confidence`; without any, the confidence of a
            word is the geometric mean of the posteriors of its tokens.
    """

    beam: float = 10.0
    max_active: int = 1500
    acoustic_scale: float = 1.0
    prior_scale: float = 0.0
    priors: Sequence[float] = ()
    doubt: tuple[float, float] = (2.41, 4.12)
    word_confidence: Sequence[float] = ()

    def __post_init__(self) -> None:
        if min(self.beam, self.max_active, self.acoustic_scale) <= 0:
            raise UsageError(f"beam, max_active and acoustic_scale must be positive, got {self}")
        if type(self.max_active) is not int:
            raise UsageError(f"expected a count as max_active, got {self.max_active!r}")
        numbers = (self.beam, self.max_active, self.acoustic_scale, self.prior_scale)
        if not all(abs(n) <= LARGEST for n in (*numbers, *self.doubt, *self.word_confidence)):
            raise UsageError(f"expected numbers up to {LARGEST:g}, got {self}")
        if len(self.doubt) != 2:
            raise UsageError(f"expected two numbers as doubt, got {self.doubt!r}")
        if self.priors and (len(self.priors) != len(TOKENS) or not min(self.priors) > 0):
            raise UsageError(f"expected a positive prior for each of {len(TOKENS)} tokens")
        if self.word_confidence and len(self.word_confidence) != 1 + FEATURES:
            raise UsageError(f"expected {1 + FEATURES} numbers as word_confidence, or none")

    def confidence(self, deficit: float) -> float:
        """How likely a grammar's sentence was said, if as often as not something else is."""
        middle, slope = self.doubt
        return 1 / (1 + math.exp(min(slope * (deficit - middle), 99.0)))

    @property
    def in_grammar(self) -> SearchOptions:
        """The same for what a grammar allows."""
        prior_scale = min(self.prior_scale, GRAMMAR_PRIORS)
        max_active = max(self.max_active, GRAMMAR_ACTIVE)
        return replace(self, beam=GRAMMAR_BEAM, max_active=max_active, prior_scale=prior_scale)

    @cached_property
    def offsets(self) -> Floats:
        """What is taken off the log-probability of each token, [V]."""
        priors = np.array(self.priors or [1.0] * len(TOKENS))
        offsets: Floats = (self.prior_scale * np.log(priors)).astype(np.float32)
        return offsets


@dataclass(frozen=True)
class GraphState:
    """Where a search stands.

    Attributes:
        search: that made it.
        chunks: log-probabilities of the frames so far.
        alive: the hypotheses.
        history: their steps.
        steps: how many steps of the history there were.
        path: [n], the steps of the best hypothesis.
        given: the places in the path of steps that give something, with its label: that of a
            word, or above those that of a tag.
        texts: the words among these.
        room: how many steps there may be until those that lead nowhere are taken out.
        after: the state of the graph that the words before the first frame led to, if any.
        frames: T, how many there were.
    """

    search: GraphSearch = field(repr=False)
    chunks: tuple[Floats, ...]
    alive: Beam = field(repr=False)
    history: History = field(repr=False)
    steps: int
    path: NDArray[np.int32] = field(repr=False)
    given: Given = ()
    texts: Texts = ()
    room: int = ROOM
    after: int | None = None
    frames: int = 0

    @property
    def log_probs(self) -> Floats:
        """All frames so far, [T, V]."""
        return np.concatenate([NO_FRAMES, *self.chunks])

    @cached_property
    def reading(self) -> Reading:
        """How the best hypothesis reads.

        Raises:
            GraphError: its words cannot be said with its tokens.
        """
        if not len(self.path):
            return NOTHING
        log_probs, graph = self.log_probs, self.search.graph
        scores = -self.search.costs(log_probs)
        said = [label for _, label in self.search.said(self.given)]
        return read(graph, self.history, self.path, said, log_probs, scores)


@dataclass(frozen=True)
class GraphSearch:
    """Viterbi beam search, frame by frame, for the best words that a graph knows."""

    graph: Graph
    options: SearchOptions = SearchOptions()

    def step(self, log_probs: Floats, state: GraphState | None = None) -> tuple[Texts, GraphState]:
        """Goes on by T frames.

        Args:
            log_probs: [T, V], natural logarithms; T may be 0.
            state: what the step before gave; None at the start. It stays valid.

        Returns:
            the best words so far, of which the last may not be spoken to its end yet; and the next
            state.

        Raises:
            GraphError: V is not the number of tokens that the graph was built for.
        """
        if log_probs.ndim != 2 or log_probs.shape[1] != len(TOKENS):
            raise GraphError(
                f"the graph expects log-probabilities [frames, {len(TOKENS)}], "
                f"got {list(log_probs.shape)}"
            )
        state = state or self.start()
        alive, history, path, given = self._walked(log_probs, state, BREAK_OFF)
        texts = state.texts
        if given != state.given:
            texts = tuple([self.graph.vocabulary[label][0] for _, label in self.said(given)])
        reached = GraphState(
            self,
            _joined(*state.chunks, log_probs),
            alive,
            history,
            history.used,
            path,
            given,
            texts,
            state.room,
            state.after,
            state.frames + len(log_probs),
        )
        return texts, _compacted(reached) if reached.steps > reached.room else reached

    def start(self, after: int | None = None) -> GraphState:
        """Where a search stands before the first frame.

        Args:
            after: what `behind` gave of the words before; None if there were none.

        Raises:
            GraphError: no words lead to that state.
        """
        if after is None:
            alive, history = self._begun
        elif 0 <= after < len(self.graph.arcs) and self._ends(after):
            alive, history = start(self.graph, self.options.beam, after)
        else:
            raise GraphError(
                f"no words lead to state {after} of this graph: "
                "go on with the graph that was begun with"
            )
        return GraphState(self, (), alive, history, history.used, NO_STEPS, after=after)

    @cached_property
    def _begun(self) -> tuple[Beam, History]:
        """The hypotheses of a search that follows no words, the same for all streams."""
        alive, history = start(self.graph, self.options.beam)
        return alive, history.without_room()

    def behind(self, state: GraphState, count: int) -> int | None:
        """The state of the graph that the first words of the best hypothesis lead to.

        Args:
            state: where the search stands.
            count: how many words.

        Returns:
            None if that is not known, as the last of them is not spoken to its end.
        """
        reading = state.reading
        if not 0 < count <= len(reading.ends):
            return None
        said, _ = self.said(state.given)[count - 1]
        step = max(int(reading.tokens.searchsorted(reading.ends[count - 1])), said + 1)
        arcs = state.history.arc[state.path[step - 1 : step]]
        place = int(self.graph.keys(arcs)[0]) >> TOKEN_BITS
        return place if self._ends(place) else None

    def _ends(self, place: int) -> bool:
        """Whether a word ends in a state of the graph."""
        return bool(self.graph.finals(np.array([place]))[0] < BREAK_OFF)

    def words(self, state: GraphState) -> Words:
        """The best words with calibrated confidences, if there are weights for these."""
        return rated(state.reading, self.options.word_confidence)

    def onset(self, state: GraphState) -> int | None:
        """The frame of the first token of the best hypothesis; None before it."""
        for step in state.path:  # one of the first has it
            if self.graph.keys(state.history.arc[step : step + 1])[0] & TOKEN:
                return int(state.history.frame[step])
        return None

    def finish(self, state: GraphState) -> Words:
        """The best words if nothing follows."""
        return self.words(self.finished(state))

    def finished(self, state: GraphState) -> GraphState:
        """The same if nothing follows: its best hypothesis is a sentence, or none if none can be.

        Dictation may be broken off anywhere, so that this is what was best so far.
        """
        _, _, path, given = self._walked(NO_FRAMES, state, self.graph.break_off)
        return state if path is state.path else replace(state, path=path, given=given)

    def labels(self, state: GraphState) -> tuple[int, ...]:
        """The labels of the best hypothesis: those of words, and above them those of tags."""
        return tuple(label for _, label in state.given)

    def stable(self, state: GraphState) -> int:
        """How many of the best words all hypotheses share, so that they cannot change."""
        shared = int(state.path.searchsorted(state.history.shared(state.alive), "right"))
        return sum(place < shared for place, _ in self.said(state.given))

    def said(self, given: Given) -> Given:
        """The words among what a path gives: the labels of tags are above theirs."""
        known = len(self.graph.vocabulary)
        return tuple([each for each in given if each[1] <= known])

    def costs(self, log_probs: Floats) -> Floats:
        """What each token costs in each frame, [T, V]."""
        return self.options.acoustic_scale * (self.options.offsets - log_probs)

    def _walked(
        self, log_probs: Floats, state: GraphState, cap: float
    ) -> tuple[Beam, History, NDArray[np.int32], Given]:
        """Hypotheses and steps after T more frames, the path of the best, and what that gives.

        Ending costs no more than `cap`. A path without steps if none can end; that of `state` if it
        is still the same.
        """
        alive, history, path = walk(
            self.graph,
            state.alive,
            state.history,
            state.steps,
            self.costs(log_probs),
            state.frames,
            self.options.beam,
            self.options.max_active,
            state.path,
            cap,
        )
        if path is None:
            return alive, history, NO_STEPS, ()
        if path.shared == len(state.path) and not len(path.steps):
            return alive, history, state.path, state.given
        kept = [each for each in state.given if each[0] < path.shared]
        steps = np.concatenate((state.path[: path.shared], path.steps))
        return alive, history, steps, (*kept, *path.given)


def _compacted(state: GraphState) -> GraphState:
    """Takes steps that lead nowhere out of the history."""
    history, alive, path = state.history.compacted(state.steps, state.alive, state.path)
    room = ROOM + history.used
    return replace(state, alive=alive, history=history, steps=history.used, room=room, path=path)


def _joined(*chunks: Floats) -> tuple[Floats, ...]:
    """The same frames in few arrays, each of them longer than the next one."""
    while len(chunks) > 1 and len(chunks[-2]) <= len(chunks[-1]):
        chunks = (*chunks[:-2], np.concatenate(chunks[-2:]))
    return chunks
