"""The search without a graph: the best token of each frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from asr.decoding.hypothesis import Spans

if TYPE_CHECKING:
    from asr.decoding.hypothesis import Floats, Texts, Words


@dataclass(frozen=True)
class GreedyState:
    """The frames so far."""

    chunks: tuple[Floats, ...]

    @property
    def log_probs(self) -> Floats:
        """All frames so far, [T, V]."""
        return np.concatenate(self.chunks)


@dataclass(frozen=True)
class GreedySearch:
    """Takes the best token of each frame; every token is a word, and once said it stays.

    Attributes:
        tokens: V names, that of blank first.
    """

    tokens: tuple[str, ...]

    def step(
        self, log_probs: Floats, state: GreedyState | None = None
    ) -> tuple[Texts, GreedyState]:
        """Goes on by the frames of log_probs [T, V]."""
        state = GreedyState((*state.chunks, log_probs) if state else (log_probs,))
        return tuple(word.text for word in self.words(state)), state

    def words(self, state: GreedyState) -> Words:
        """The best tokens with their frames."""
        log_probs = state.log_probs
        said = Spans.of(log_probs.argmax(axis=1), log_probs)
        words = [said.word(self.tokens[token], i, i + 1) for i, token in enumerate(said.tokens)]
        return tuple(words)

    def onset(self, state: GreedyState) -> int | None:
        """The first frame of the first token."""
        words = self.words(state)
        return words[0].start if words else None

    def finish(self, state: GreedyState) -> Words:
        """The same, as what follows changes none of them."""
        return self.words(state)

    def stable(self, state: GreedyState) -> int:
        """All that was said."""
        return len(self.words(state))
