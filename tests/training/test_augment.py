"""What is done to features is what happens to sound."""

import math

import numpy as np
import pytest
import soxr
import torch

from asr.errors import TrainingError
from asr.nn.frontend import FLOOR, HOP, MELS, RATE, Frontend
from asr.nn.model import FRAME
from asr.training.augment import (
    Augmentation,
    add,
    augment,
    narrow,
    noise_clips,
    noise_features,
)
from tests.sound import record


def features(samples: np.ndarray) -> np.ndarray:
    frontend = Frontend()
    whole = torch.from_numpy(samples[None, : len(samples) // FRAME * FRAME].astype(np.float32))
    with torch.inference_mode():
        return frontend.step(whole, frontend.start(1))[0][0].numpy()


@pytest.fixture(scope="module")
def sounds() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    syllables = 0.2 * np.abs(np.sin(2 * np.pi * 2 * np.arange(4 * RATE) / RATE))
    speech, noise = rng.standard_normal((2, 4 * RATE))
    return syllables * speech, 0.05 * noise


def test_added_features_are_those_of_the_added_sounds(sounds):
    speech, noise = sounds
    together = features(speech + noise)
    mixed, noise = features(speech), features(noise)
    snr = 10 * math.log10(np.exp(mixed).mean() / np.exp(noise).mean())
    add(mixed, len(mixed), noise, snr)
    difference = (mixed - together)[2:]
    assert abs(difference.mean()) < 0.1
    assert np.abs(difference).mean() < 0.5


def test_a_narrow_band_has_nothing_outside():
    level = np.zeros((10, MELS), np.float32)
    narrow(level, 300.0, 3400.0, 40.0)
    assert (level[:, 0] < -9).all()
    assert (level[:, -1] < -9).all()
    assert (level[:, MELS // 3] == 0).all()


def test_a_narrow_band_is_that_of_a_recording_at_8_khz(sounds):
    """What was sampled at 8 kHz has nothing above 4 kHz, and below what it had."""
    speech, _ = sounds
    coded = soxr.resample(soxr.resample(speech, RATE, RATE // 2), RATE // 2, RATE)
    got, want = features(speech), features(coded)
    narrow(got, 0.0, 3800.0, 100.0)
    assert np.abs((got - want)[2:, :60]).mean() < 0.1
    assert (got[2:, -10:] == FLOOR).all()
    assert np.abs((got - want)[2:, -10:]).mean() < 1.0


def test_nothing_is_done_unless_asked():
    before = torch.randn(3, 100, MELS)
    after = before.clone()
    nothing = Augmentation(frequency_masks=0, time_masks=0)
    augment(after, torch.tensor([100, 80, 60]), nothing, None, np.random.default_rng(1))
    assert torch.equal(before, after)


def test_everything_at_once_is_finite_and_the_same_for_the_same_seed():
    how = Augmentation(noise=1.0, telephones=1.0, gain=6.0)
    noise = np.random.default_rng(2).normal(size=(50, MELS)).astype(np.float32)
    results = []
    for _ in range(2):
        batch = torch.full((3, 100, MELS), FLOOR)
        batch[:, 10:60] = torch.randn(3, 50, MELS, generator=torch.Generator().manual_seed(1))
        augment(batch, torch.tensor([100, 80, 60]), how, noise, np.random.default_rng(1))
        results.append(batch)
    assert torch.equal(*results)
    assert results[0].isfinite().all()
    assert results[0].min() >= FLOOR - 1e-3


def test_noise_is_split_between_training_and_measuring(tmp_path):
    for number in range(40):
        (tmp_path / f"{number}.wav").touch()
    heard, kept = (noise_clips(tmp_path, held_out=held_out) for held_out in (False, True))
    assert kept
    assert heard
    assert not set(heard) & set(kept)
    assert len(heard) + len(kept) == 40
    with pytest.raises(TrainingError, match="holds no noise"):
        noise_clips(tmp_path / "nowhere", held_out=True)


def test_noise_features_are_kept(tmp_path):
    samples = 0.1 * np.random.default_rng(1).standard_normal(RATE).astype(np.float32)
    for number in range(10):
        record(tmp_path / f"{number}.wav", samples)
    clips = noise_clips(tmp_path, held_out=False)
    first = noise_features(tmp_path, tmp_path)
    assert np.allclose(first[: RATE // HOP], features(samples), atol=0.1)
    assert len(first) == len(clips) * RATE // HOP
    for clip in clips:
        clip.write_bytes(b"")
    assert np.array_equal(noise_features(tmp_path, tmp_path), first)
