"""`asr train`: train a model as a configuration says, or go on with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

RunFolder = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder of the run; runs/CONFIG if not given."),
]


def run_folder(config: Path, chosen: Path | None) -> Path:
    """Where a run lies: in the folder chosen, or under the name of its configuration."""
    return chosen or Path("runs") / config.stem


def train(
    config: Annotated[
        Path, typer.Argument(help="YAML file, such as asr/training/recipes/own.yaml.")
    ],
    output: RunFolder = None,
    seed: Annotated[
        int | None, typer.Option(help="In the place of the file's, for another model like it.")
    ] = None,
) -> None:
    """Train a model. A run that was interrupted goes on where it was."""
    from asr.training.config import TrainConfig
    from asr.training.trainer import Trainer

    told = TrainConfig.load(config)
    if seed is not None:
        told = replace(told, seed=seed)
    Trainer(told, run_folder(config, output)).run()
