"""`asr lm`: the recurrent language model that decides between the hypotheses of a search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.train import RunFolder, run_folder

lm = typer.Typer(
    name="lm", help="Train and export the language model that decides between hypotheses."
)


@lm.command()
def train(
    config: Annotated[
        Path, typer.Argument(help="YAML file, such as asr/training/recipes/en-language.yaml.")
    ],
    output: RunFolder = None,
) -> None:
    """Train a language model. A run that was interrupted goes on where it was."""
    from asr.training.language import LanguageTrainer
    from asr.training.sentences import LanguageTraining

    LanguageTrainer(LanguageTraining.load(config), run_folder(config, output)).run()


@lm.command()
def export(
    source: Annotated[Path, typer.Argument(help="model.pt of a training run.")],
    target: Annotated[Path, typer.Argument(help="The file to write, such as language.onnx.")],
) -> None:
    """Write a language model in ONNX, after a check that it scores as the trained one does."""
    from asr.export.language import export as write
    from asr.nn.language import LanguageModel

    difference = write(LanguageModel.load(source)[0], target)
    size = target.stat().st_size / 1e6
    typer.echo(f"{target}: {size:.1f} MB, scores {difference:.3f} nats off torch on average")
