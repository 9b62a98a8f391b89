"""Whether a word with confidence 0.8 is right eight times in ten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

BINS = 10


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


def reliability(confidences: Sequence[float], correct: Sequence[bool]) -> list[Bin]:
    """Words by confidence, in BINS bins of equal width; empty bins are left out."""
    values, right = np.asarray(confidences, float), np.asarray(correct, float)
    bins = np.minimum((values * BINS).astype(int), BINS - 1)
    return [
        Bin(
            number / BINS,
            (number + 1) / BINS,
            int(inside.sum()),
            float(values[inside].mean()),
            float(right[inside].mean()),
        )
        for number in range(BINS)
        if (inside := bins == number).any()
    ]


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """Mean distance of confidence from correctness, by words (Naeini et al. 2015); NaN of none."""
    words = sum(one.words for one in bins)
    gaps = sum(one.words * abs(one.confidence - one.correct) for one in bins)
    return gaps / words if words else float("nan")
