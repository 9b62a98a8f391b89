"""Without a graph, every token is a word, and said once it stays."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from asr.decoding.greedy import GreedySearch
from asr.decoding.lexicon import TOKENS
from tests.decoding.world import frames, noise

SEARCH = GreedySearch(TOKENS)


def test_tokens_with_their_frames():
    texts, state = SEARCH.step(frames("- B B AH - S S - S -"))
    said = [(word.text, word.start, word.end) for word in SEARCH.words(state)]
    assert said == [("B", 1, 3), ("AH", 3, 4), ("S", 5, 7), ("S", 8, 9)]
    assert SEARCH.finish(state) == SEARCH.words(state)
    assert SEARCH.onset(state) == said[0][1]
    assert SEARCH.onset(SEARCH.step(frames("- -"))[1]) is None
    assert texts == ("B", "AH", "S", "S")


def test_confidence_is_the_posterior():
    (word,) = SEARCH.words(SEARCH.step(frames("- B -", posterior=0.6))[1])
    assert abs(word.confidence - 0.6) < 1e-5


@given(count=st.integers(0, 40), seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, 40)))
def test_any_cut_gives_the_same_and_tokens_stay(count, seed, cuts):
    log_probs = noise(count, seed)
    whole, _ = SEARCH.step(log_probs)
    state, before = None, ()
    for part in np.split(log_probs, sorted(min(cut, count) for cut in cuts)):
        texts, state = SEARCH.step(part, state)
        assert texts[: len(before)] == before
        before = texts
    assert texts == whole
    assert np.array_equal(state.log_probs, log_probs)
