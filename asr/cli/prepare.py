"""`asr prepare`: turn a corpus into manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def prepare(
    corpus: Annotated[Path, typer.Argument(help="Folder with SPLIT.jsonl and tar shards.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where manifests and audio go.")
    ] = Path("data"),
) -> None:
    """Unpack a corpus and write a lhotse manifest for each of its splits."""
    from asr.training.prepare import prepare_shards

    for split, utterances in prepare_shards(corpus, output).items():
        typer.echo(f"{output / split}.jsonl.gz: {utterances} utterances")
