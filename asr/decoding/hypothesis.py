"""What every search has in common: what it is asked, what it gives, how a CTC path is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

BLANK = 0
"""The token that stands for no phone."""

STATE_BITS = 24
"""A graph has at most 2 to the power of this arcs, and therefore states."""

TOKEN_BITS = 6
"""There are fewer tokens than 2 to the power of this."""


@dataclass(frozen=True, slots=True)
class DecodedWord:
    """A word of a hypothesis.

    Attributes:
        text: the word.
        start: its first frame.
        end: the frame after its last.
        confidence: how likely the word is right, in [0, 1], if the model has weights for that (see
            `asr.decoding.confidence`); else the geometric mean of the posteriors of its tokens.
    """

    text: str
    start: int
    end: int
    confidence: float


Words = tuple[DecodedWord, ...]
"""A hypothesis: words in the order of time; the last may not be spoken to its end yet."""


Texts = tuple[str, ...]
"""The same without their times."""


class State(Protocol):
    """Where a search stands."""

    @property
    def log_probs(self) -> Floats:
        """All frames so far, [T, V]."""


S = TypeVar("S", bound=State)


class Search(Protocol[S]):
    """A search through log-probabilities as they come."""

    def step(self, log_probs: Floats, state: S | None = None) -> tuple[Texts, S]:
        """Goes on by T frames.

        Args:
            log_probs: [T, V], natural logarithms; T may be 0.
            state: what the step before gave; None at the start. It stays valid.

        Returns:
            the best words so far, of which the last may not be spoken to its end yet; and the next
            state, which the other methods are asked about.
        """

    def words(self, state: S) -> Words:
        """The best words so far with their frames, counted from the first step.

        There are none before the first token. This takes longer than a step does.
        """

    def onset(self, state: S) -> int | None:
        """The first frame of the best words so far; None before the first token."""

    def finish(self, state: S) -> Words:
        """The best words if nothing follows."""

    def stable(self, state: S) -> int:
        """How many of the best words cannot change any more, whatever follows."""


@dataclass(frozen=True)
class Spans:
    """The tokens of a CTC path without its blanks, n of them.

    Attributes:
        tokens: [n] ids.
        starts: [n] first frames.
        ends: [n] frames after the last.
        log_probs: [n], the log-probability of each token at its best frame.
    """

    tokens: tuple[int, ...]
    starts: list[int]
    ends: list[int]
    log_probs: list[float]

    @classmethod
    def of(cls, path: Sequence[int] | NDArray[np.int64], log_probs: Floats) -> Spans:
        """Collapses a path, a token for each frame of log_probs [T, V]: repetitions are one."""
        tokens = np.asarray(path, np.int64)
        changes = np.flatnonzero(np.diff(tokens, prepend=-1))
        if not len(changes):
            return cls((), [], [], [])
        best = np.maximum.reduceat(log_probs[np.arange(len(tokens)), tokens], changes)
        spoken = tokens[changes] != BLANK
        return cls(
            tuple(tokens[changes][spoken].tolist()),
            changes[spoken].tolist(),
            np.append(changes[1:], len(tokens))[spoken].tolist(),
            best[spoken].tolist(),
        )

    @classmethod
    def between(
        cls, starts: Sequence[int], tokens: Sequence[int], log_probs: Floats, scores: Floats
    ) -> Spans:
        """The best path with n tokens that begin in given frames: each lasts, then blanks follow.

        Args:
            starts: [n] frames, rising; the first token follows blanks.
            tokens: [n] ids, none of them blank.
            log_probs: [T, V].
            scores: [T, V], what the path shall have the most of.
        """
        ends, best = list[int](), list[float]()
        gains = scores - scores[:, :1]
        for place, (begin, token) in enumerate(zip(starts, tokens, strict=True)):
            until = starts[place + 1] if place + 1 < len(starts) else len(scores)
            gained = gains[begin:until, token].tolist()
            if tokens[place + 1 : place + 2] == tokens[place : place + 1]:
                gained[-1] = -math.inf  # between equal tokens there is a blank
            total, most, end = 0.0, -math.inf, until
            for after, gain in enumerate(gained, begin + 1):
                total += gain
                if total >= most:
                    most, end = total, after
            ends.append(end)
            best.append(max(log_probs[begin:end, token].tolist()))
        return cls(tuple(tokens), list(starts), ends, best)

    def deficit(self, log_probs: Floats) -> float:
        """What the best path without any words has more than this one, in nats per token.

        Args:
            log_probs: [T, V], all frames. That path takes the best token in each.
        """
        path = np.zeros(len(log_probs), np.int64)
        for token, start, end in zip(self.tokens, self.starts, self.ends, strict=True):
            path[start:end] = token
        more = log_probs.max(axis=1) - log_probs[np.arange(len(path)), path]
        return float(more.sum()) / len(self.tokens)

    def word(self, text: str, first: int, last: int) -> DecodedWord:
        """Makes a word of the tokens `first` up to and without `last`."""
        mean = sum(self.log_probs[first:last]) / (last - first)
        return DecodedWord(text, self.starts[first], self.ends[last - 1], math.exp(min(0.0, mean)))
