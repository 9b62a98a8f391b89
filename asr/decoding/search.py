"""The search in a graph: the best words for log-probabilities as they come."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import kaldi_decoder
import kaldifst
import numpy as np

from asr.decoding.hypothesis import Spans
from asr.decoding.lexicon import TOKENS
from asr.errors import GraphError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from asr.decoding.graph import Graph
    from asr.decoding.hypothesis import Words

    Floats = NDArray[np.float32]


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

    beam: float = 12.0
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
    """The frames so far, and a decoder that has read them, or more of them in a later step."""

    chunks: tuple[Floats, ...]
    frames: int
    decoder: kaldi_decoder.FasterDecoder = field(repr=False)

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
            state: what the step before gave; None at the start.

        Returns:
            The best words so far and the next state. The old state stays valid; only, a second
            step from it has to read all its frames again.

        Raises:
            GraphError: V is not the number of tokens that the graph was built for.
        """
        if log_probs.ndim != 2 or log_probs.shape[1] != len(TOKENS):
            raise GraphError(
                f"the graph expects log-probabilities [frames, {len(TOKENS)}], "
                f"got {list(log_probs.shape)}"
            )
        chunks = (*state.chunks, log_probs) if state else (log_probs,)
        if state and state.decoder.num_frames_decoded() == state.frames:
            decoder, unread = state.decoder, log_probs
        else:
            decoder, unread = self._start(), np.concatenate(chunks)
        self._advance(decoder, unread)
        state = GraphState(chunks, decoder.num_frames_decoded(), decoder)
        return self.finish(state), state

    def finish(self, state: GraphState) -> Words:
        """The best words if nothing follows: the same as so far, for every state may be the last.

        (That is so because of the final costs in `asr.decoding.build` and `asr.decoding.ctc`.)
        """
        if state.decoder.num_frames_decoded() != state.frames:
            _, state = self.step(state.chunks[-1][:0], state)
        alive, path = state.decoder.get_best_path()
        if not alive:
            return ()
        _, labels, word_labels, _ = kaldifst.get_linear_symbol_sequence(path)
        said = Spans.of(np.array(labels, np.int64) - 1, state.log_probs)
        entries = [self.graph.vocabulary[label] for label in word_labels]
        ends = word_ends([ways for _, ways in entries], said.tokens)
        words = [
            said.word(text, first, last)
            for (text, _), first, last in zip(entries, [0, *ends], ends, strict=False)
        ]
        return tuple(words)

    def _start(self) -> kaldi_decoder.FasterDecoder:
        options = kaldi_decoder.FasterDecoderOptions(
            beam=self.options.beam, max_active=self.options.max_active
        )
        decoder = kaldi_decoder.FasterDecoder(self.graph.fst, options)
        decoder.init_decoding()
        return decoder

    def _advance(self, decoder: kaldi_decoder.FasterDecoder, log_probs: Floats) -> None:
        scores = self.options.acoustic_scale * (log_probs - self.options.offsets)
        read = decoder.num_frames_decoded()
        if len(scores):
            decoder.advance_decoding(kaldi_decoder.DecodableCtc(scores, offset=read))


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
