"""How well audio fits tokens is what all paths together show."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.decoding.fit import best_path, distance, heard
from tests.decoding.world import frames, noise


def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for token, _ in itertools.groupby(path) if token)


@given(
    tokens=st.lists(st.integers(1, 2), min_size=1, max_size=4).map(tuple),
    count=st.integers(0, 6),
    seed=st.integers(0, 1000),
)
def test_best_path_is_the_best_of_all_paths(tokens, count, seed):
    log_probs = noise(count, seed)
    scores = [
        log_probs[np.arange(count), list(path)].sum()
        for path in itertools.product(range(3), repeat=count)
        if collapsed(path) == tokens
    ]
    assert best_path(log_probs, tokens) == pytest.approx(max(scores, default=-math.inf))


@given(seed=st.integers(0, 1000), count=st.integers(5, 40))
def test_what_is_heard_is_at_no_distance(seed, count):
    log_probs = noise(count, seed)
    if tokens := heard(log_probs):
        assert distance(log_probs, tokens) == pytest.approx(0, abs=1e-4)
        assert distance(log_probs, tokens[1:] or (1, 2)) >= 0


def test_the_way_a_word_is_said_is_nearest():
    said = frames("- R R IY - D -")
    assert distance(said, (28, 18, 9)) < 0.1 < 1 < distance(said, (28, 11, 9))


def test_too_few_frames_cannot_say_it():
    assert best_path(frames("R D"), (28, 28)) == -math.inf
