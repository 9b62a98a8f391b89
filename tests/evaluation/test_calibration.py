"""Reliability of confidences."""

import math

import numpy as np
import pytest

from asr.evaluation.calibration import expected_calibration_error, reliability


def test_calibrated_confidences_have_nearly_no_error() -> None:
    rng = np.random.default_rng(0)
    confidences = rng.random(20_000)
    bins = reliability(confidences, rng.random(20_000) < confidences)
    assert expected_calibration_error(bins) < 0.02
    assert sum(one.words for one in bins) == 20_000


def test_boasting_is_measured() -> None:
    bins = reliability([0.95] * 10, [True] * 6 + [False] * 4)
    (only,) = bins
    assert (only.low, only.high, only.words, only.correct) == (0.9, 1.0, 10, 0.6)
    assert expected_calibration_error(bins) == pytest.approx(0.35)


def test_certainty_belongs_to_the_last_bin() -> None:
    assert [(one.low, one.words) for one in reliability([0.0, 1.0], [False, True])] == [
        (0.0, 1),
        (0.9, 1),
    ]


def test_no_words_have_no_error() -> None:
    assert math.isnan(expected_calibration_error(reliability([], [])))
