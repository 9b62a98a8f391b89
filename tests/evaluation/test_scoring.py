"""Error rates and their intervals."""

import math

import numpy as np
import pytest

from asr.evaluation.scoring import Errors, interval, oracle, score


def test_errors_are_told_apart() -> None:
    result = score("the cat sat on the mat", "a the cat sit on mat")
    assert result.words == Errors(hits=4, substitutions=1, deletions=1, insertions=1)
    assert result.words.rate == pytest.approx(3 / 6)
    assert [(e.said, e.heard) for e in result.edits if e.hit] == [(0, 1), (1, 2), (3, 4), (5, 5)]
    assert [(e.said, e.heard) for e in result.edits if not e.hit] == [(None, 0), (2, 3), (4, None)]


def test_characters_count_more_finely_than_words() -> None:
    result = score("hello", "hallo")
    assert (result.words.rate, result.characters.rate) == (1.0, 0.2)


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("", "", Errors()),
        ("", "oh no", Errors(insertions=2)),
        ("oh no", "", Errors(deletions=2)),
    ],
)
def test_nothing_said_or_heard_counts_too(said: str, heard: str, errors: Errors) -> None:
    assert score(said, heard).words == errors


def test_a_rate_of_nothing_is_none() -> None:
    assert math.isnan(Errors(insertions=3).rate)
    assert all(map(math.isnan, interval([Errors(insertions=3)], ["ann"])))


def test_the_interval_covers_the_true_rate_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(60):
        rates = rng.beta(2, 6, 40)  # of 40 speakers; the mean is 0.25
        wrong = [rng.binomial(100, rate) for rate in rates]
        low, high = interval([Errors(100 - n, n) for n in wrong], range(40))
        covered += low <= 0.25 <= high
    assert 50 <= covered < 60


def test_utterances_of_one_speaker_are_drawn_together() -> None:
    errors = [Errors(hits=9, substitutions=1)] * 20 + [Errors(hits=5, substitutions=5)] * 20
    apart = interval(errors, range(40))
    together = interval(errors, ["ann"] * 20 + ["bob"] * 20)
    assert apart[1] - apart[0] < 0.15
    assert together == pytest.approx((0.1, 0.5))


def test_the_oracle_chooses_in_each_segment() -> None:
    segments = (("we sore", "he saw", "we saw"), ("it", "at"), ("bus",))
    errors = oracle("we saw it", segments)
    assert (errors.hits, errors.total, errors.insertions) == (3, 1, 1)
    assert oracle("we saw it", ()).deletions == 3
