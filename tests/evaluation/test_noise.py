"""Noise at a set ratio."""

from pathlib import Path

import numpy as np
import pytest

from asr.errors import AsrError, TrainingError
from asr.evaluation.noise import Noise
from asr.training.augment import noise_clips
from tests.sound import record, tone


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of a second, each of its own frequency and half of it silent."""
    folder = tmp_path_factory.mktemp("noise")
    for number in range(30):
        clip = tone(1, frequency=300 + 50 * number) * (np.arange(16_000) < 8_000)
        record(folder / f"clip{number}.flac", clip)
    return folder


SPEECH = 0.1 * np.random.default_rng(0).standard_normal(40_000).astype(np.float32)


@pytest.mark.parametrize("snr", [20.0, 5.0, -5.0])
def test_the_ratio_is_the_one_asked_for(folder: Path, snr: float) -> None:
    mixed = Noise(folder, 16_000).add(SPEECH, "a", snr)
    noise = mixed - SPEECH
    ratio = np.mean(SPEECH**2) / np.mean(noise**2)
    assert 10 * np.log10(ratio) == pytest.approx(snr, abs=0.1)


def test_the_noise_hangs_on_the_name_alone(folder: Path) -> None:
    noise = Noise(folder, 16_000)
    at_ten = noise.add(SPEECH, "a", 10) - SPEECH
    np.testing.assert_array_equal(Noise(folder, 16_000).add(SPEECH, "a", 10) - SPEECH, at_ten)
    louder = noise.add(SPEECH, "a", 4) - SPEECH
    np.testing.assert_allclose(louder, at_ten * 10 ** (6 / 20), atol=1e-6)
    others = [noise.add(SPEECH, name, 10) - SPEECH for name in "bcdef"]
    assert not any(np.allclose(at_ten, other, atol=1e-3) for other in others)


def test_only_clips_that_training_does_not_hear_are_used(folder: Path) -> None:
    trained = noise_clips(folder, held_out=False)
    assert not set(Noise(folder, 16_000).clips) & set(trained)


def test_loud_noise_is_not_clipped(folder: Path) -> None:
    mixed = Noise(folder, 16_000).add(SPEECH, "a", -40)
    assert np.abs(mixed).max() == pytest.approx(1.0)
    assert (np.abs(mixed) > 0.999).mean() < 0.02


def test_a_folder_without_noise_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no noise"):
        Noise(tmp_path, 16_000)
    for clip in folder.iterdir():
        record(tmp_path / clip.name, np.zeros(16_000, np.float32))
    with pytest.raises(AsrError, match="silent"):
        Noise(tmp_path, 16_000).add(SPEECH, "a", 10)
