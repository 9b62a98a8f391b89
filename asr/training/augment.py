"""Rooms, noise, telephones, loudness and masks, made from features while the batches are made.

A log-mel feature is the logarithm of a band's energy, and what happens to sound on its way happens
to energies nearly as simply: independent sounds add up, a channel scales them, a room adds a tail
that decays. So nothing is decoded or transformed again, and every utterance is heard in another way
each time.
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
from torchaudio.functional import lfilter

from asr.audio import read
from asr.errors import TrainingError
from asr.nn.frontend import FLOOR, HOP, MELS, RATE, Frontend, mel_centres
from asr.nn.model import FRAME

Floats = npt.NDArray[np.float32]

HELD_OUT = 5
"""One noise clip in so many is kept from training, to measure robustness with."""
TELEPHONE = (300.0, 3400.0)
"""Edges of the telephone band in Hz (ITU-T G.712)."""
STOPPED = math.log(10.0) / 10 * 40
"""How far the telephone puts the bands outside of it down, in nepers of energy: 40 dB."""


@dataclass(frozen=True)
class Augmentation:
    """How often training hears an utterance otherwise than it was recorded.

    Attributes:
        rooms: share of utterances in a room that echoes.
        decay: shortest and longest time in which an echo falls by 60 dB, in seconds.
        noise: share of utterances with noise.
        snr: lowest and highest ratio of speech to noise, in dB.
        telephones: share of utterances through a telephone.
        gain: largest change of loudness, in dB, of every utterance.
        frequency_masks, frequency_width: SpecAugment (Park et al. 2019), in mel bins.
        time_masks, time_width: the same in time; masks per 10 s of audio, width in feature frames.
    """

    rooms: float = 0.0
    decay: tuple[float, float] = (0.2, 0.8)
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


def noise_features(folder: Path, cache: Path) -> Floats:
    """Features [F, MELS] of the clips that training hears, one behind the other.

    Args:
        folder: where the clips lie.
        cache: folder where the features are kept.
    """
    clips = noise_clips(folder, held_out=False)
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
        if rng.random() < how.rooms:
            echo(row, rng.uniform(*how.decay), rng.uniform(-12.0, 0.0))
        if noise is not None and rng.random() < how.noise:
            begin = rng.integers(0, max(1, len(noise) - len(row)))
            add(
                row,
                length,
                np.resize(noise[begin : begin + len(row)], row.shape),
                rng.uniform(*how.snr),
            )
        if rng.random() < how.telephones:
            telephone(row)
        if how.gain:
            row += rng.uniform(-how.gain, how.gain) * math.log(10.0) / 10
            np.maximum(row, FLOOR, out=row)
    mask(features, lengths, how, rng)


def echo(features: Floats, decay: float, level: float) -> None:
    """Put [F, MELS] into a room whose reverberation is noise that decays (Polack 1988).

    Args:
        features: changed in place.
        decay: seconds in which the tail falls by 60 dB.
        level: energy of the whole tail beside that of the direct sound, in dB.
    """
    kept = 10 ** (-6 * HOP / RATE / decay)
    energy = torch.from_numpy(features).exp().T
    tail = 10 ** (level / 10) * (1 - kept)
    whole = lfilter(
        energy, torch.tensor([1.0, -kept]), torch.tensor([1.0, tail - kept]), clamp=False
    )
    torch.log(whole.T, out=torch.from_numpy(features))


def add(features: Floats, length: int, noise: Floats, snr: float) -> None:
    """Add noise [F, MELS] to [F, MELS] in place, `snr` dB below the mean energy of the speech."""
    speech = float(np.exp(features[:length]).mean())
    loudness = float(np.exp(noise).mean())
    if loudness > math.exp(FLOOR) * 10:
        shift = math.log(speech / loudness) - snr * math.log(10.0) / 10
        np.logaddexp(features, noise + np.float32(shift), out=features)


def telephone(features: Floats) -> None:
    """Take what a telephone does not carry out of [F, MELS], in place."""
    centres = mel_centres().numpy()
    outside = (centres < TELEPHONE[0]) | (centres > TELEPHONE[1])
    features[:, outside] = np.maximum(features[:, outside] - STOPPED, FLOOR)


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
