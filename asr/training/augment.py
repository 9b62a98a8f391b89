"""Noise, telephones, loudness and masks, made from features while the batches are made.

A log-mel feature is the logarithm of a band's energy, and what happens to sound on its way happens
to energies nearly as simply: independent sounds add up, a channel scales them. So nothing is
decoded or transformed again, and every utterance is heard in another way each time. Rooms are not
as simple; see `asr.training.rooms`.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track
from torch import Tensor

from asr.audio import read
from asr.errors import TrainingError
from asr.nn.frontend import FLOOR, HOP, MELS, RATE, Frontend, mel_centres
from asr.nn.model import FRAME

Floats = npt.NDArray[np.float32]

HELD_OUT = 5
"""One noise clip in so many is kept from training, to measure robustness with."""
DECIBEL = math.log(10.0) / 10
"""In nepers of energy, the unit of features."""
LOWEST = 300.0
"""Where a telephone's band begins, in Hz (ITU-T G.712)."""
HIGHEST = (3300.0, 3800.0, 7000.0)
"""Where a narrow band ends, in Hz: at the least, most often, at the most. Telephones and recordings
at 8 kHz carry up to 3.4 and 4 kHz, codecs of few bits somewhat more."""
STOPPED = (30.0, 100.0)
"""How far what is outside of a narrow band is put down, in dB."""


@dataclass(frozen=True)
class Augmentation:
    """How often training hears an utterance otherwise than it was recorded.

    Attributes:
        noise: share of utterances with noise.
        snr: lowest and highest ratio of speech to noise, in dB.
        telephones: share of utterances through a telephone or a codec, which carries a part of the
            band.
        gain: largest change of loudness, in dB, of every utterance.
        frequency_masks, frequency_width: SpecAugment (Park et al. 2019), in mel bins.
        time_masks, time_width: the same in time; masks per 10 s of audio, width in feature frames.
    """

    noise: float = 0.0
    snr: tuple[float, float] = (0.0, 25.0)
    telephones: float = 0.0
    gain: float = 0.0
    frequency_masks: int = 2
    frequency_width: int = 20
    time_masks: int = 8
    time_width: int = 25


def noise_clips(folder: Path, *, held_out: bool) -> list[Path]:
    """The clips of a folder that training hears, or those that it never does.

    Raises:
        TrainingError: when there are none.
    """
    clips = sorted(path for path in folder.glob("*") if path.suffix in {".opus", ".wav", ".flac"})
    chosen = [p for p in clips if (zlib.crc32(p.name.encode()) % HELD_OUT == 0) == held_out]
    if not chosen:
        raise TrainingError(f"{folder} holds no noise: expected .opus, .wav or .flac files")
    return chosen


def noise_features(folder: Path, cache: Path, *, held_out: bool = False) -> Floats:
    """Features [F, MELS] of the clips that training hears, one behind the other.

    Args:
        folder: where the clips lie.
        cache: folder where the features are kept.
        held_out: those that training never hears instead.
    """
    clips = noise_clips(folder, held_out=held_out)
    key = hashlib.sha256(json.dumps([path.name for path in clips]).encode()).hexdigest()[:12]
    path = cache / f"noise-{key}.npy"
    if not path.is_file():
        frontend = Frontend()
        features = []
        for clip in track(clips, "noise"):
            samples = np.concatenate(list(read(clip, RATE)))
            whole = torch.from_numpy(samples[: len(samples) // FRAME * FRAME])[None]
            with torch.inference_mode():
                features.append(frontend.step(whole, frontend.start(1))[0][0].numpy())
        np.save(path, np.concatenate(features))
    loaded: Floats = np.load(path)
    return loaded


def augment(
    features: Tensor,
    lengths: Tensor,
    how: Augmentation,
    noise: Floats | None,
    rng: np.random.Generator,
) -> None:
    """Change a batch in place.

    Args:
        features: [N, F, MELS], not normalised.
        lengths: [N] feature frames that are speech; what follows is silence.
        how: what to do.
        noise: [n, MELS] to draw from; None for no noise.
        rng: decides.
    """
    for row, length in zip(features.numpy(), lengths.tolist(), strict=True):
        if noise is not None and rng.random() < how.noise:
            begin = rng.integers(0, max(1, len(noise) - len(row)))
            add(
                row,
                length,
                np.resize(noise[begin : begin + len(row)], row.shape),
                rng.uniform(*how.snr),
            )
        if rng.random() < how.telephones:
            low = LOWEST if rng.random() < 0.5 else 0.0
            narrow(row, low, rng.triangular(*HIGHEST), rng.uniform(*STOPPED))
        if how.gain:
            row += rng.uniform(-how.gain, how.gain) * DECIBEL
            np.maximum(row, FLOOR, out=row)
    mask(features, lengths, how, rng)


def add(features: Floats, length: int, noise: Floats, snr: float) -> None:
    """Add noise [F, MELS] to [F, MELS] in place, `snr` dB below the mean energy of the speech."""
    speech = float(np.exp(features[:length]).mean())
    loudness = float(np.exp(noise).mean())
    if loudness > math.exp(FLOOR) * 10:
        shift = math.log(speech / loudness) - snr * DECIBEL
        np.logaddexp(features, noise + np.float32(shift), out=features)


def narrow(features: Floats, low: float, high: float, stopped: float) -> None:
    """Put down what [F, MELS] has outside of a band, in place.

    Args:
        features: changed in place.
        low: lower edge of the band in Hz.
        high: upper edge.
        stopped: how far, in dB.
    """
    centres = mel_centres().numpy()
    outside = (centres < low) | (centres > high)
    features[:, outside] = np.maximum(features[:, outside] - stopped * DECIBEL, FLOOR)


def mask(features: Tensor, lengths: Tensor, how: Augmentation, rng: np.random.Generator) -> None:
    """SpecAugment in place: bands and stretches are set to the utterance's mean.

    Args:
        features: [N, F, MELS].
        lengths: [N] feature frames that are speech.
        how: number and width of the masks.
        rng: where they fall.
    """
    streams, frames, _ = features.shape
    means = features.mean(dim=(1, 2), keepdim=True)
    hidden = torch.zeros(streams, frames, MELS, dtype=torch.bool)
    bins = torch.arange(MELS)
    for _ in range(how.frequency_masks):
        begin, end = _stretch(np.full(streams, MELS), how.frequency_width, rng)
        hidden |= ((bins >= begin) & (bins < end))[:, None]
    times = torch.arange(frames)
    spans = lengths.numpy()
    masks = how.time_masks * spans * HOP / (10 * RATE)
    for number in range(int(np.ceil(masks.max(initial=0)))):
        begin, end = _stretch(spans, how.time_width, rng)
        used = torch.from_numpy(rng.random(streams) < masks - number)[:, None]
        hidden |= ((times >= begin) & (times < end) & used)[:, :, None]
    torch.where(hidden, means, features, out=features)


def _stretch(lengths: np.ndarray, widest: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Begin and end of a random stretch within each length, [N, 1] each."""
    width = rng.integers(0, widest + 1, len(lengths))
    begin = (rng.random(len(lengths)) * np.maximum(lengths - width, 1)).astype(np.int64)
    return torch.from_numpy(begin)[:, None], torch.from_numpy(begin + width)[:, None]
