"""The search in a graph: the best words for log-probabilities as they come."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from asr.decoding.hypothesis import Spans
from asr.decoding.lexicon import TOKENS
from asr.decoding.passing import Beam, History, advance, recombine, start
from asr.errors import GraphError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from asr.decoding.graph import Graph
    from asr.decoding.hypothesis import Words

    Floats = NDArray[np.float32]

ROOM = 50_000
"""Steps of a history, beside those that count, before it is cleaned."""


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
    """

    beam: float = 10.0
    max_active: int = 3000
    acoustic_scale: float = 1.0
    prior_scale: float = 0.0
    priors: Sequence[float] = ()

    def __post_init__(self) -> None:
        if min(self.beam, self.max_active, self.acoustic_scale) <= 0:
            raise UsageError(f"beam, max_active and acoustic_scale must be positive, got {self}")
        if self.priors and (len(self.priors) != len(TOKENS) or min(self.priors) <= 0):
            raise UsageError(f"expected a positive prior for each of {len(TOKENS)} tokens")

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
        chunks: log-probabilities of the frames so far.
        alive: the hypotheses.
        history: their steps.
        steps: how many steps of the history there were.
        room: how many there may be until those that lead nowhere are taken out.
        path: the steps of the best hypothesis.
    """

    chunks: tuple[Floats, ...]
    alive: Beam = field(repr=False)
    history: History = field(repr=False)
    steps: int
    room: int = ROOM
    path: list[int] = field(default_factory=list, repr=False)

    @property
    def log_probs(self) -> Floats:
        """All frames so far, [T, V]."""
        return np.concatenate(self.chunks)


@dataclass(frozen=True)
class GraphSearch:
    """Viterbi beam search, frame by frame, for the best words that a graph knows."""

    graph: Graph
    options: SearchOptions = SearchOptions()

    def step(self, log_probs: Floats, state: GraphState | None = None) -> tuple[Words, GraphState]:
        """Goes on by T frames.

        Args:
            log_probs: [T, V], natural logarithms; T may be 0.
            state: what the step before gave; None at the start. It stays valid.

        Returns:
            The best words so far and the next state.

        Raises:
            GraphError: V is not the number of tokens that the graph was built for.
        """
        if log_probs.ndim != 2 or log_probs.shape[1] != len(TOKENS):
            raise GraphError(
                f"the graph expects log-probabilities [frames, {len(TOKENS)}], "
                f"got {list(log_probs.shape)}"
            )
        state = state or self._start()
        beam, alive, history, steps = self.options.beam, state.alive, state.history, state.steps
        read = sum(map(len, state.chunks))
        for frame, costs in enumerate(self._costs(log_probs), read):
            stay, new = advance(self.graph, alive, costs, beam)
            most = self.options.max_active
            alive, history = recombine(stay, new, history, steps, frame, beam, most)
            steps = history.used
        state = replace(
            state,
            chunks=(*state.chunks, log_probs),
            alive=alive,
            history=history,
            steps=steps,
            path=history.path(self._best(alive), state.path),
        )
        if steps > state.room:
            state = _compacted(state)
        return self.finish(state), state

    def finish(self, state: GraphState) -> Words:
        """The best words if nothing follows: the same as so far, for every state may be the last.

        (That is so because of the final costs in `asr.decoding.build` and `asr.decoding.graph`.)
        """
        arcs = state.history.arc[state.path]
        tokens = self.graph.label[arcs]
        spoken = tokens > 0
        if not spoken.any():
            return ()
        log_probs = state.log_probs
        starts = state.history.frame[state.path][spoken]
        said = Spans.between(starts, tokens[spoken], log_probs, -self._costs(log_probs))
        entries = [
            self.graph.vocabulary[label]
            for label in self.labels(state)
            if label <= len(self.graph.vocabulary)
        ]
        ends = word_ends([ways for _, ways in entries], said.tokens)
        words = [
            said.word(text, first, last)
            for (text, _), first, last in zip(entries, [0, *ends], ends, strict=False)
        ]
        return tuple(words)

    def labels(self, state: GraphState) -> tuple[int, ...]:
        """The labels along the best path: those of words, and above them those of tags."""
        labels = self.graph.word[state.history.arc[state.path]]
        return tuple(labels[labels > 0].tolist())

    def stable(self, state: GraphState) -> int:
        """How many of the best words all hypotheses share, so that they cannot change."""
        shared = state.history.shared(state.alive.steps)
        path = state.path[: bisect_right(state.path, shared)]
        labels = self.graph.word[state.history.arc[path]]
        return int(np.count_nonzero((labels > 0) & (labels <= len(self.graph.vocabulary))))

    def _start(self) -> GraphState:
        alive, history = start(self.graph, self.options.beam)
        return GraphState((), alive, history, history.used)

    def _costs(self, log_probs: Floats) -> Floats:
        return self.options.acoustic_scale * (self.options.offsets - log_probs)

    def _best(self, alive: Beam) -> int:
        """The last step of the best hypothesis if nothing follows."""
        best = int(np.argmin(alive.cost + self.graph.final[alive.states]))
        return int(alive.last[best])


def _compacted(state: GraphState) -> GraphState:
    """Takes steps that lead nowhere out of the history."""
    history, number = state.history.compacted(state.steps, state.alive.steps)
    return replace(
        state,
        alive=state.alive.renumbered(number),
        history=history,
        steps=history.used,
        room=ROOM + 2 * history.used,
        path=number[state.path].tolist(),
    )


def word_ends(words: Sequence[Sequence[tuple[int, ...]]], tokens: tuple[int, ...]) -> list[int]:
    """Finds which tokens each word of a path is made of.

    The graph gives a word as soon as its tokens cannot be another's, or only some tokens after its
    end; so the words alone do not say where they are.

    Args:
        words: of each word the pronunciations, as token ids. The last word may be spoken in part.
        tokens: of the path; the last may belong to a word that is not decided yet.

    Returns:
        For each word, the place after its last token.

    Raises:
        GraphError: the words cannot be said with these tokens.
    """
    reached: list[dict[int, int]] = [{0: 0}]  # for each word: end to start
    for said in words:
        reached.append(
            {
                start + len(phones): start
                for start in reached[-1]
                for phones in said
                if tokens[start : start + len(phones)] == phones
            }
        )
    if words and not reached[-1]:
        reached[-1] = {
            len(tokens): start
            for start in reached[-2]
            if any(phones[: len(tokens) - start] == tokens[start:] for phones in words[-1])
        }
    if not reached[-1]:
        raise GraphError("the graph's words and its lexicon differ; build the graph again")
    ends = [max(reached[-1])]
    for back in reversed(reached[2:]):
        ends.append(back[ends[-1]])
    return ends[::-1][: len(words)]
