"""How well audio fits what it is said to say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from asr.decoding.hypothesis import BLANK, Spans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.floating]


def best_path(log_probs: Floats, tokens: Sequence[int]) -> float:
    """Log-probability of the best CTC path that says some tokens and nothing else.

    Args:
        log_probs: [T, V], natural logarithms.
        tokens: n ids, none of them blank.

    Returns:
        The log-probability; -inf if there are too few frames.
    """
    places = np.full(2 * len(tokens) + 1, BLANK)
    places[1::2] = tokens
    jumps = np.flatnonzero((places[2:] != BLANK) & (places[2:] != places[:-2])) + 2
    score = np.full(len(places), -np.inf)
    score[0] = 0.0
    for frame in log_probs:
        after = score.copy()
        after[1:] = np.maximum(after[1:], score[:-1])
        after[jumps] = np.maximum(after[jumps], score[jumps - 2])
        score = after + frame[places]
    return float(score[-2:].max())


def heard(log_probs: Floats) -> tuple[int, ...]:
    """The tokens of the best path of all."""
    return Spans.of(log_probs.argmax(axis=1), log_probs).tokens


def distance(log_probs: Floats, tokens: Sequence[int]) -> float:
    """How much less likely some tokens are than what is heard, in nats per token; 0 if they are."""
    return (float(log_probs.max(axis=1).sum()) - best_path(log_probs, tokens)) / len(tokens)
