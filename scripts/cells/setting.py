"""What all comparisons share: the data, the shape of the models, the budget."""

from __future__ import annotations

import bisect
import contextlib
import functools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import torch
from lhotse import CutSet
from torch import Tensor, nn

from asr.nn.encoder import EncoderConfig
from asr.nn.model import CtcModel
from asr.training.augment import Augmentation
from asr.training.config import TrainConfig
from asr.training.features import FeatureStore

CELLS = ("rnn", "lstm", "gru", "gru_reset_before")
INITIALISATIONS = ("xavier", "he", "orthogonal")
REFERENCE = EncoderConfig(cell="gru", hidden=192, layers=2, channels=64, lookahead=0, dropout=0.0)
"""No look-ahead: the only way from a frame to a later one is the hidden state."""
SHORTEST = 2.0
"""Seconds; shorter utterances are left out of the data."""


@dataclass(frozen=True)
class Setting:
    """What a comparison costs.

    Attributes:
        folder: where data and results go.
        hours: of training speech, and of dev speech.
        epochs: over the training speech.
        seeds: of each model that is trained.
        distance: frames that the gradient is followed back.
    """

    folder: Path
    hours: tuple[float, float] = (2.0, 0.3)
    epochs: int = 6
    seeds: tuple[int, ...] = (1, 2, 3)
    distance: int = 500

    @property
    def train(self) -> Path:
        """Manifest of the training speech."""
        return self.folder / "train.jsonl.gz"

    @property
    def dev(self) -> Path:
        """Manifest of the speech that errors are counted on."""
        return self.folder / "dev.jsonl.gz"

    def choose(self, train: Path, dev: Path) -> None:
        """Take the same part of the data every time: the first hours by the hash of the id."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for whole, part, hours in (
            (train, self.train, self.hours[0]),
            (dev, self.dev, self.hours[1]),
        ):
            if part.exists():
                continue
            cuts = [cut for cut in CutSet.from_file(whole) if cut.duration >= SHORTEST]
            cuts.sort(key=lambda cut: zlib.crc32(cut.id.encode()))
            seconds = 0.0
            chosen = []
            for cut in cuts:
                if seconds >= 3600 * hours:
                    break
                chosen.append(cut)
                seconds += cut.duration
            CutSet.from_cuts(chosen).to_file(part)

    def config(
        self, encoder: EncoderConfig, seed: int, learning_rate: float = 0.003
    ) -> TrainConfig:
        """A training run; float32, so that every cell carries its state in the same precision."""
        return TrainConfig(
            train=self.train,
            dev=self.dev,
            cache=self.folder / "features",
            encoder=encoder,
            speeds=(1.0,),
            epochs=self.epochs,
            batch_seconds=60.0,
            joined_seconds=0.1,
            learning_rate=learning_rate,
            warmup_steps=100,
            average=0.99,
            augmentation=Augmentation(frequency_masks=0, time_masks=0),
            bfloat16=False,
            seed=seed,
            checkpoint_minutes=60.0,
        )


@functools.cache
def shapes() -> dict[str, EncoderConfig]:
    """Every cell with as many units as the reference, and with as many parameters."""
    goal = parameters(REFERENCE)
    found = {}
    for cell in CELLS:
        found[f"{cell}-hidden"] = same = replace(REFERENCE, cell=cell)
        if parameters(same) != goal:
            sizes = [replace(same, hidden=hidden) for hidden in range(64, 512, 2)]
            place = bisect.bisect_left(sizes, goal, key=parameters)
            nearest = min(sizes[place - 1 : place + 1], key=lambda c: abs(parameters(c) - goal))
            found[f"{cell}-parameters"] = nearest
    return found


def parameters(config: EncoderConfig) -> int:
    """Of the whole model, convolutions and head included."""
    return sum(parameter.numel() for parameter in CtcModel(config).parameters())


class Unnormalised(nn.Module):
    """Stands in for layer norm and does nothing."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """[..., size] as it is."""
        return x


@contextlib.contextmanager
def layer_norm(*, present: bool) -> Iterator[None]:
    """Models that are built meanwhile have layer norm, or have none."""
    with mock.patch.object(nn, "LayerNorm", nn.LayerNorm if present else Unnormalised):
        yield


def fresh_model(config: TrainConfig, store: FeatureStore) -> CtcModel:
    """The model that a training run begins with."""
    torch.manual_seed(config.seed)
    model = CtcModel(config.encoder)
    mean, deviation = store.statistics()
    model.mean.copy_(torch.from_numpy(mean))
    model.deviation.copy_(torch.from_numpy(deviation))
    return model
