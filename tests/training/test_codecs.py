"""What codecs leave of speech."""

import numpy as np
import pytest

from asr.errors import TrainingError
from asr.nn.frontend import RATE
from asr.training.codecs import KINDS, Codec, any_codec, coded

ALL = [codec for kind in KINDS for codec in kind]


def tone(hertz: float) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(RATE + 77) / RATE)).astype(np.float32)


@pytest.mark.parametrize("codec", ALL, ids=lambda codec: f"{codec.name}-{codec.bits}")
def test_what_is_coded_comes_back_at_its_time_and_as_long_as_it_was(codec):
    click = np.zeros(RATE, np.float32)
    click[7_000:7_400] = tone(900)[:400]
    heard = coded(click, codec)
    assert heard.shape == click.shape
    assert heard.dtype == np.float32
    energy = np.square(heard)
    assert abs(energy @ np.arange(RATE) / energy.sum() - 7_200) < 0.02 * RATE
    assert 0.3 < np.linalg.norm(heard) / np.linalg.norm(click) < 1.5


@pytest.mark.parametrize("codec", [kind[0] for kind in KINDS], ids=lambda codec: codec.name)
def test_what_a_codec_of_few_bits_does_not_carry_is_gone(codec):
    low, high = (np.linalg.norm(coded(tone(hertz), codec)) for hertz in (1_000, 7_000))
    assert high < 0.1 * low


def test_every_kind_is_drawn():
    rng = np.random.default_rng(0)
    drawn = {any_codec(rng) for _ in range(1_000)}
    assert drawn == set(ALL)


def test_a_codec_that_ffmpeg_lacks_is_named():
    with pytest.raises(TrainingError, match="cannot write libnothing"):
        coded(tone(440), Codec("libnothing", 8_000, "wav"))
