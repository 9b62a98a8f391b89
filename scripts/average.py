"""Averages the weights of two models that began as one.

    python scripts/average.py runs/en-small/model.pt runs/en-small-accents/model.pt -o model.pt

A model that was trained further on a part of the data is better there and worse elsewhere; halfway
between the two lies one that is as good as either on each (Wortsman et al., "Model soups", 2022).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.errors import TrainingError
from asr.nn.model import CtcModel


def main(
    first: Annotated[Path, typer.Argument(help="model.pt of a training run.")],
    second: Annotated[Path, typer.Argument(help="That of the run that went on from it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model to write.")],
    share: Annotated[float, typer.Option(min=0, max=1, help="Of the second model.")] = 0.5,
) -> None:
    """Write the average of two models."""
    (one, facts), (other, later) = CtcModel.load(first), CtcModel.load(second)
    if one.encoder.config.hidden != other.encoder.config.hidden:
        raise TrainingError(f"{first} and {second} have not the same shape")
    weights, further = one.state_dict(), other.state_dict()
    one.load_state_dict({name: weights[name].lerp(further[name], share) for name in weights})
    pairs = zip(facts["priors"], later["priors"], strict=True)
    priors = [(1 - share) * before + share * after for before, after in pairs]
    one.save(output, training=later["training"], step=later["step"], priors=priors)


if __name__ == "__main__":
    typer.run(main)
