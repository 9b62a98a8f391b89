"""A room is what its response says, and the same one for the same seed."""

from itertools import islice

import numpy as np
import pytest
import torch

from asr.nn.frontend import RATE
from asr.training.rooms import in_room, responses


def test_rooms_are_the_same_for_the_same_seed_and_leave_other_randomness_alone():
    torch.manual_seed(7)
    want = torch.rand(3)
    torch.manual_seed(7)
    first = list(islice(responses(seed=1), 3))
    assert torch.equal(torch.rand(3), want)
    again = list(islice(responses(seed=1), 3))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({len(response) for response in first}) > 1
    assert not np.array_equal(next(responses(seed=2)), first[0])


@pytest.mark.parametrize("longest", [0.3, 0.8])
def test_an_echo_comes_behind_what_comes_directly_and_ends_in_time(longest):
    for response in islice(responses(seed=1, longest=longest), 8):
        energy = np.square(response)
        assert energy.argmax() == 0
        assert len(response) <= longest * RATE
        assert energy[len(energy) // 2 :].sum() < 0.1 * energy[1 : len(energy) // 2].sum()


def test_speech_in_a_room_is_there_again_at_the_time_of_the_echo():
    click = np.zeros(RATE, np.float32)
    click[1000] = 0.5
    response = np.zeros(4000, np.float32)
    response[[0, 3200]] = 1.0, 0.5
    heard = in_room(click, response)
    assert len(heard) == len(click)
    loud = np.flatnonzero(np.abs(heard) > 1e-3)
    assert loud.tolist() == [1000, 4200]
    assert heard[4200] / heard[1000] == pytest.approx(0.5, rel=1e-3)
    assert np.linalg.norm(heard) == pytest.approx(np.linalg.norm(click), rel=1e-3)


def test_what_is_heard_stays_in_range_and_silence_silent():
    response = next(responses(seed=1))
    square = np.sign(np.sin(np.arange(RATE) / 20)).astype(np.float32)
    assert np.abs(in_room(square, response)).max() <= 1
    assert not in_room(np.zeros(RATE, np.float32), response).any()
