"""`asr train`: train a model as a configuration says, or go on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[
        Path, typer.Argument(help="YAML file, such as asr/training/recipes/en-small.yaml.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the run; runs/CONFIG if not given."),
    ] = None,
) -> None:
    """Train a model. A run that was interrupted goes on where it was."""
    from asr.training.config import TrainConfig
    from asr.training.trainer import Trainer

    Trainer(TrainConfig.load(config), output or Path("runs") / config.stem).run()
