"""What each part of a recipe's augmentation is worth: the recipe, and the recipe without it.

    torchrun --nproc-per-node 2 scripts/ablate.py RECIPE

Each run has a folder of its own in OUTPUT and is not done again; delete it to repeat it. All hear
equally much: where copies or sources are missing, the others come more often. The table gives phone
errors on dev, with trigrams where the loss has them: as it is, with noise that training never heard
at 10 dB, in rooms that it never heard, through a telephone, and through codecs. Shorten a recipe
with `shares` (others: 0.2), and compare only what is in one table; another seed shows what chance
makes of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import torch

from asr.nn.encoder import SUBSAMPLING
from asr.nn.frontend import HOP, RATE
from asr.nn.model import CtcModel
from asr.training.augment import Augmentation, augment, noise_features
from asr.training.batches import whole_batches
from asr.training.config import TrainConfig
from asr.training.features import CODED, IN_ROOM, OTHERS, feature_store
from asr.training.parallel import Processes
from asr.training.trainer import Trainer, spoken, training_store

Change = Callable[[TrainConfig], TrainConfig]
PLAIN = Augmentation(frequency_masks=0, time_masks=0)
CONDITIONS = {
    "clean": ("", PLAIN),
    "noise, 10 dB": ("", replace(PLAIN, noise=1.0, snr=(10.0, 10.0))),
    "rooms": (IN_ROOM, PLAIN),
    "telephone": ("", replace(PLAIN, telephones=1.0)),
    "codecs": (CODED, PLAIN),
}
"""What the ids of the utterances end with, and what is made of their features."""


def augmented(**values: Any) -> Change:
    """Another augmentation."""
    return lambda config: replace(config, augmentation=replace(config.augmentation, **values))


CHANGES: dict[str, Change] = {
    "as it is": lambda config: config,
    "another seed": lambda config: replace(config, seed=config.seed + 1),
    "without noise": augmented(noise=0.0),
    "without rooms": lambda config: replace(config, rooms=0.0),
    "without codecs": lambda config: replace(config, codecs=0.0),
    "without telephones": augmented(telephones=0.0),
    "without loudness": augmented(gain=0.0),
    "without noise, telephones, loudness": augmented(noise=0.0, telephones=0.0, gain=0.0),
    "with masks": augmented(frequency_masks=2, time_masks=6),
    "without joining": lambda config: replace(config, joined_seconds=0.0),
    "without other speeds": lambda config: replace(config, speeds=(1.0,)),
    "without transcribed speech": lambda config: replace(
        config, shares={**config.shares, "pseudo": 0.0}
    ),
    "without competitors": lambda config: replace(config, crf=0.0),
    "without dropout": lambda config: replace(config, encoder=replace(config.encoder, dropout=0.0)),
    "80 ms of look-ahead": lambda config: replace(
        config, encoder=replace(config.encoder, lookahead=2)
    ),
    "without look-ahead": lambda config: replace(
        config, encoder=replace(config.encoder, lookahead=0)
    ),
}


def main() -> None:
    """Do what is not done yet, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--only", help="names of runs, with commas between them")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/ablation"))
    arguments = parser.parse_args()
    recipe = TrainConfig.load(arguments.recipe)
    names = arguments.only.split(",") if arguments.only else list(CHANGES)
    rows, processes = [], Processes()
    whole = processes.first_alone(partial(hours, recipe))
    for name in names:
        folder = arguments.output / name.replace(" ", "-")
        changed = CHANGES[name](recipe)
        share = processes.first_alone(partial(hours, changed)) / whole
        trainer = Trainer(as_long(changed, 1 / share), folder)
        trainer.run()
        if processes.rank == 0:
            model, _ = CtcModel.load(folder / "model-last.pt")
            rows.append((name, *errors(model, trainer)))
    if rows:
        print("| recipe |", " | ".join(CONDITIONS), "|")
        print("|---" * (1 + len(CONDITIONS)) + "|")
        for name, *values in rows:
            print(f"| {name} |", " | ".join(f"{value:.2%}" for value in values), "|")


def hours(config: TrainConfig) -> float:
    """What an epoch has."""
    store = training_store(config)
    return float(store.times @ store.frames) * HOP / RATE / 3600


def as_long(config: TrainConfig, times: float) -> TrainConfig:
    """The same with so many times as much of each source."""
    shares = {OTHERS: 1.0, **config.shares}
    return replace(config, shares={source: share * times for source, share in shares.items()})


@torch.inference_mode()
def errors(model: CtcModel, trainer: Trainer) -> list[float]:
    """Phone errors on dev under each condition, as the run counts them."""
    recipe = trainer.config
    store = feature_store(recipe.dev, (1.0,), recipe.cache, rooms=1.0, codecs=1.0)
    copies = np.array(["".join(name.partition("@")[1:]) for name in store.ids])
    assert recipe.noise
    lookahead = model.encoder.config.lookahead
    noise = noise_features(recipe.noise, recipe.cache, held_out=True)
    found = []
    for copy, how in CONDITIONS.values():
        numbers = np.flatnonzero(copies == copy)
        rng = np.random.default_rng(1)
        wanted, heard = [], []
        for batch in whole_batches(store, lookahead, among=numbers):
            augment(batch.features, batch.frames * SUBSAMPLING, how, noise, rng)
            heard += trainer.phones(model.whole(batch.features), batch)
            wanted += spoken(batch)
        found.append(float(jiwer.wer(wanted, heard)))
    return found


if __name__ == "__main__":
    main()
