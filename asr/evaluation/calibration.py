"""Whether a word with confidence 0.8 is right eight times in ten."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from asr.decoding.confidence import probabilities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.floating]

BINS = 10
STEPS = 30
"""Of Newton's method; it needs fewer than ten."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Words whose confidence lies between two bounds.

    Attributes:
        low: lower bound, which belongs to the bin.
        high: upper bound, which does not, but for 1.
        words: how many.
        confidence: their mean confidence.
        correct: share of them that are right.
    """

    low: float
    high: float
    words: int
    confidence: float
    correct: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far the confidences of some words can be relied on; shares of no words are NaN.

    Attributes:
        bins: words by confidence, in BINS bins of equal width; empty bins are left out.
        area: how well they tell right words from wrong ones; see `area`.
    """

    bins: list[Bin]
    area: float

    @classmethod
    def of(cls, confidences: Sequence[float], correct: Sequence[bool]) -> Reliability:
        """That of words with these confidences, of which these are right."""
        values, right = np.asarray(confidences, float), np.asarray(correct, float)
        numbers = np.minimum((values * BINS).astype(int), BINS - 1)
        bins = [
            Bin(
                number / BINS,
                (number + 1) / BINS,
                int(inside.sum()),
                float(values[inside].mean()),
                float(right[inside].mean()),
            )
            for number in range(BINS)
            if (inside := numbers == number).any()
        ]
        return cls(bins, area(confidences, correct))

    @property
    def words(self) -> int:
        """How many."""
        return sum(one.words for one in self.bins)

    @property
    def confidence(self) -> float:
        """Their mean confidence."""
        return self._mean([one.confidence for one in self.bins])

    @property
    def correct(self) -> float:
        """Share of them that are right."""
        return self._mean([one.correct for one in self.bins])

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of the two, by bins (Naeini et al. 2015)."""
        return self._mean([abs(one.confidence - one.correct) for one in self.bins])

    def _mean(self, values: Sequence[float]) -> float:
        """Of a value of each bin, by words."""
        total = sum(one.words * value for one, value in zip(self.bins, values, strict=True))
        return total / self.words if self.words else float("nan")


def area(confidences: Sequence[float], correct: Sequence[bool]) -> float:
    """How well confidences tell right words from wrong ones: the area under the ROC curve.

    That is the chance that a right word has a higher confidence than a wrong one; 0.5 is no better
    than a coin. NaN if there is only one kind.
    """
    values, right = np.asarray(confidences, float), np.asarray(correct, bool)
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]  # from 1 on; equal ones share theirs
    good, bad = int(right.sum()), int((~right).sum())
    if not good or not bad:
        return float("nan")
    return float((ranks[right].sum() - good * (good + 1) / 2) / (good * bad))


def fitted(known: Floats, correct: Sequence[bool]) -> NDArray[np.float64]:
    """The weights of a logistic regression, by Newton's method with a slight ridge.

    Args:
        known: [words, features].
        correct: of each word, whether it is right.

    Returns:
        [1 + features], a constant first, for features as they are given.
    """
    mean, scale = known.mean(axis=0), known.std(axis=0) + 1e-9
    scaled = np.insert((known - mean) / scale, 0, 1.0, axis=1)
    right = np.asarray(correct, float)
    ridge = np.diag([0.0] + [1.0] * known.shape[1])
    weights = np.zeros(scaled.shape[1])
    for _ in range(STEPS):
        guess = 1 / (1 + np.exp(-scaled @ weights))
        slope = scaled.T @ (guess - right) + ridge @ weights
        curve = (scaled.T * (guess * (1 - guess))) @ scaled + ridge
        weights -= np.linalg.solve(curve, slope)
    slopes = weights[1:] / scale
    return np.insert(slopes, 0, weights[0] - slopes @ mean)


def held_out(
    known: Floats, correct: Sequence[bool], speakers: Sequence[str]
) -> NDArray[np.float64]:
    """Confidences of words by weights that were fitted to the other half of the speakers.

    Args:
        known: [words, features].
        correct: of each word, whether it is right.
        speakers: of each word.
    """
    right = np.asarray(correct, bool)
    half = np.array([zlib.crc32(speaker.encode()) % 2 == 0 for speaker in speakers])
    confidences = np.zeros(len(right))
    for side in (half, ~half):
        confidences[side] = probabilities(known[side], fitted(known[~side], right[~side]).tolist())
    return confidences
