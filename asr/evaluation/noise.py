"""Noise that training never heard, added to the waveform at a set ratio."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from asr.audio import read
from asr.errors import AsrError
from asr.training.augment import noise_clips

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

SILENT = 1e-8
"""Mean square below which a piece of a clip is no noise: -80 dB of full scale."""


class Noise:
    """The held-out clips of a folder.

    Attributes:
        clips: their paths.
        rate: samples per second of what they are added to.
    """

    def __init__(self, folder: Path, rate: int) -> None:
        """Raises TrainingError when the folder holds none."""
        self.clips = noise_clips(folder, held_out=True)
        self.rate = rate

    def add(self, samples: Floats, name: str, snr: float) -> Floats:
        """The samples [S] with noise.

        Which clip, and from where on, hangs on the name alone: the same noise at every ratio, and
        in every run. A clip that is too short goes round.

        Args:
            samples: speech.
            name: id of the utterance.
            snr: mean power of the speech over that of the noise, both over all of S, in dB.

        Returns:
            [S]; scaled down where it would leave [-1, 1].

        Raises:
            AsrError: when every clip is silent.
        """
        noise = self._piece(len(samples), name)
        speech = float(np.mean(np.square(samples)))
        gain = np.sqrt(speech / float(np.mean(np.square(noise))) / 10 ** (snr / 10))
        mixed = samples + np.float32(gain) * noise
        return np.asarray(mixed / max(1.0, float(np.abs(mixed).max())), np.float32)

    def _piece(self, length: int, name: str) -> Floats:
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        for number in rng.permutation(len(self.clips)):
            clip = np.concatenate(list(read(self.clips[number], self.rate)))
            piece: Floats = np.resize(np.roll(clip, -int(rng.integers(len(clip)))), length)
            if np.mean(np.square(piece)) > SILENT:
                return piece
        raise AsrError(f"the noise clips in {self.clips[0].parent} are silent")
