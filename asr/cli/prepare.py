"""`asr prepare`: turn a corpus into manifests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from asr.training.prepare import Prepared

Subsets = Annotated[
    list[str] | None, typer.Option("--subset", "-s", help="One to prepare; repeat for more.")
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder of the manifests.")]

prepare = typer.Typer(
    name="prepare",
    help="Turn a corpus into lhotse manifests for `asr train`, and list in skipped.tsv what cannot "
    "be trained on.",
)


@prepare.command()
def librispeech(
    folder: Annotated[Path, typer.Argument(help="LibriSpeech, or the folder that it lies in.")],
    subset: Subsets = None,
    output: Output = Path("data/librispeech"),
) -> None:
    """Prepare LibriSpeech or Mini LibriSpeech, all subsets that are there unless told."""
    from asr.training.prepare import prepare_librispeech

    _show(prepare_librispeech(folder, output, subset or ()))


@prepare.command()
def commonvoice(
    folder: Annotated[Path, typer.Argument(help="The folder with clips/ and the tsv files.")],
    subset: Subsets = None,
    output: Output = Path("data/commonvoice"),
) -> None:
    """Prepare a release of Common Voice; train, dev and test unless told."""
    from asr.training.prepare import prepare_commonvoice

    _show(prepare_commonvoice(folder, output, subset or ()))


@prepare.command()
def manifest(
    files: Annotated[
        list[Path],
        typer.Argument(help='Lines {"audio": PATH, "text": TEXT, "speaker": NAME, "id": NAME}.'),
    ],
    output: Output = Path("data"),
) -> None:
    """Prepare recordings of your own, a JSON line each; FILE.jsonl becomes FILE.jsonl.gz."""
    from asr.training.prepare import prepare_manifest

    for file in files:
        _show(prepare_manifest(file, output))


@prepare.command()
def shards(
    folder: Annotated[Path, typer.Argument(help="Folder with SPLIT.jsonl and tar shards.")],
    output: Output = Path("data"),
) -> None:
    """Unpack and prepare speech in tar shards."""
    from asr.training.prepare import prepare_shards

    _show(prepare_shards(folder, output))


def _show(splits: Iterable[Prepared]) -> None:
    """Say what became of each split as soon as it is done."""
    from asr.training.prepare import SKIPPED, counted

    for split in splits:
        typer.echo(f"{split.manifest}: {split.utterances} utterances, {split.hours:.2f} h")
        if split.skipped:
            number, folder = sum(split.skipped.values()), split.manifest.parent
            typer.echo(f"skipped {number}: {counted(split.skipped)}; see {folder / SKIPPED}")
