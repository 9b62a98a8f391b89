"""`asr export`: from a checkpoint to a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    checkpoint: Annotated[Path, typer.Argument(help="model.pt of a training run.")],
    target: Annotated[Path, typer.Argument(help="The folder to write, such as models/en-small.")],
    graph: Annotated[
        Path | None,
        typer.Option(
            help="Dictation graph that `asr graph` built, to ship with it.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    card: Annotated[
        Path | None, typer.Option(help="Model card in Markdown.", exists=True, dir_okay=False)
    ] = None,
    version: Annotated[str, typer.Option(help="Version of the model.")] = "1",
    language: Annotated[str, typer.Option(help="BCP 47 tag of its language.")] = "en",
    terms: Annotated[str, typer.Option("--license", help="SPDX expression.")] = "Apache-2.0",
    data: Annotated[str, typer.Option(help="What it was trained on, in a line.")] = "not said",
    acoustic_scale: Annotated[
        float, typer.Option(help="Weight of the acoustic model against the graph, chosen on dev.")
    ] = 1.0,
    prior_scale: Annotated[
        float, typer.Option(help="How much of the tokens' priors is taken off, chosen on dev.")
    ] = 0.6,
) -> None:
    """Write a model folder, after a check that it computes what the checkpoint does."""
    from asr.decoding.lexicon import TOKENS
    from asr.errors import ExportError
    from asr.export.folder import export as write
    from asr.nn.model import CtcModel

    model, metadata = CtcModel.load(checkpoint)
    if prior_scale and "priors" not in metadata:
        raise ExportError(f"{checkpoint} holds no priors of its tokens; give --prior-scale 0")
    worst = write(
        model,
        TOKENS,
        target,
        graphs={"dictation": graph} if graph else {},
        card=card,
        version=version,
        language=language,
        license=terms,
        data=data,
        search={
            "acoustic_scale": acoustic_scale,
            "prior_scale": prior_scale,
            "priors": [round(prior, 6) for prior in metadata.get("priors", ())],
        },
    )
    typer.echo(f"{target}: at most {worst:.1e} off torch")
