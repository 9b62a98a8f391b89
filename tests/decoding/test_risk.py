"""Of several sentences the one with the fewest expected word errors is found."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from asr.decoding import passing
from asr.decoding.risk import CANDIDATES, SHARPNESS, distances, fewest_errors
from tests.decoding.test_passing import both, compiled, implementation

SENTENCES = st.lists(st.lists(st.integers(0, 3), max_size=9), min_size=1, max_size=8)
LONG = st.lists(st.integers(0, 2**62), max_size=200)


@both
@given(SENTENCES, st.integers(0, 9))
def test_distances_are_levenshteins(known, sentences, most):
    with implementation(known):
        found = distances(sentences, most)
    some = sentences[:most]
    expected = [[Levenshtein.distance(one, other) for other in sentences] for one in some]
    assert found.tolist() == expected


@both
@given(LONG, LONG)
def test_long_sentences_are_compared_whole(known, one, other):
    with implementation(known):
        assert distances([one, other], 1).tolist() == [[0, Levenshtein.distance(one, other)]]


@both
def test_what_most_agree_on_is_taken_before_what_is_likeliest(known):
    """The likeliest has a word that no other has; the second is one word from each of them."""
    likeliest, middle, *others = [[9, 2, 3], [1, 2, 3], [1, 2, 4], [1, 5, 3]]
    scores = [0.0, -0.5, -0.5, -0.5]
    with implementation(known):
        assert fewest_errors([likeliest, middle, *others], scores) == 1
        assert fewest_errors([likeliest, middle, *others], [0.0, -9.0, -9.0, -9.0]) == 0


@both
@given(st.data())
def test_no_candidate_has_fewer_expected_errors(known, data):
    sentences = data.draw(
        st.lists(st.lists(st.integers(0, 3), max_size=5).map(tuple), min_size=1, max_size=30)
    )
    scores = sorted((data.draw(st.floats(-20, 0)) for _ in sentences), reverse=True)
    likely = [np.exp(SHARPNESS * score) for score in scores]
    risks = [
        sum(
            Levenshtein.distance(one, other) * p for other, p in zip(sentences, likely, strict=True)
        )
        for one in sentences[:CANDIDATES]
    ]
    with implementation(known):
        assert risks[fewest_errors(sentences, scores)] == pytest.approx(min(risks))


@compiled
@pytest.mark.parametrize(("ends", "some"), [([2, 1], 1), ([9], 1), ([-1], 1), ([1], 2), ([1], -1)])
def test_ends_that_are_none_are_refused(ends, some):
    words = np.arange(3, dtype=np.int64)
    with pytest.raises(ValueError, match="no ends of sentences"):
        passing._passing.distances(words, np.array(ends, np.int64), some)
