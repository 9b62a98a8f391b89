"""Reliability of confidences."""

import math

import numpy as np
import pytest

from asr.decoding.confidence import probabilities
from asr.evaluation.calibration import (
    Reliability,
    area,
    fitted,
    held_out,
)


def test_calibrated_confidences_have_nearly_no_error() -> None:
    rng = np.random.default_rng(0)
    confidences = rng.random(20_000)
    relied = Reliability.of(confidences.tolist(), (rng.random(20_000) < confidences).tolist())
    assert relied.error < 0.02
    assert relied.words == 20_000
    assert relied.confidence == pytest.approx(confidences.mean())


def test_boasting_is_measured() -> None:
    relied = Reliability.of([0.95] * 10, [True] * 6 + [False] * 4)
    (only,) = relied.bins
    assert (only.low, only.high, only.words, only.correct) == (0.9, 1.0, 10, 0.6)
    assert relied.correct == 0.6
    assert relied.error == pytest.approx(0.35)


def test_certainty_belongs_to_the_last_bin() -> None:
    bins = Reliability.of([0.0, 1.0], [False, True]).bins
    assert [(one.low, one.words) for one in bins] == [(0.0, 1), (0.9, 1)]


def test_no_words_have_no_error() -> None:
    assert math.isnan(Reliability.of([], []).error)


def test_area_counts_the_pairs_in_order() -> None:
    assert area([0.9, 0.8, 0.3, 0.1], [True, True, False, False]) == 1.0
    assert area([0.9, 0.2, 0.5, 0.1], [True, True, False, False]) == 0.75
    assert area([0.5] * 4, [True, False, True, False]) == 0.5
    assert math.isnan(area([0.5], [True]))


def words(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of words of which the first two say how likely they are right."""
    rng = np.random.default_rng(1)
    known = rng.normal([3.0, 0.0, 5.0, 1.0], [1.0, 20.0, 1.0, 1.0], (count, 4))
    right = rng.random(count) < probabilities(known, [4.0, -1.0, 0.1, 0.0, 0.0])
    return known, right


def test_weights_are_found_again() -> None:
    weights = fitted(*words(50_000))
    assert weights == pytest.approx([4.0, -1.0, 0.1, 0.0, 0.0], rel=0.1, abs=0.25)


def test_a_word_is_rated_by_other_speakers() -> None:
    known, right = words(20_000)
    speakers = [f"speaker {number % 40}" for number in range(len(right))]
    confidences = held_out(known, right, speakers)
    assert Reliability.of(confidences.tolist(), right.tolist()).error < 0.02
    lying = np.array([speaker == "speaker 7" for speaker in speakers])
    changed = held_out(known, right ^ lying, speakers)
    assert np.array_equal(changed[lying], confidences[lying])
    assert not np.array_equal(changed, confidences)
