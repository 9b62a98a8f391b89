"""`asr bench`: what a model costs, in time, memory and energy, beside other recognisers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.demo import CLIP
from asr.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asr.benchmark import measure
    from asr.benchmark.tables import Columns
    from asr.bundle import Settings

PEERS = ("sherpa-onnx", "pocketsphinx")
NONE, WHOLE = "none", "whole"
CHUNKS, BATCH_CHUNKS = "40,160,640,whole", "160"


def bench(
    model: Annotated[Path, typer.Argument(help="Model folder, such as models/en-small.")],
    recordings: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[CLIPS]...",
            help="Recordings, the transcript of x.wav in x.txt, and sets as `asr prepare` writes. "
            "If none are given, the clip of `asr demo`.",
        ),
    ] = None,
    clips: Annotated[
        int | None, typer.Option(min=1, help="Draw so many clips; all if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    chunks: Annotated[
        str | None,
        typer.Option(
            metavar="MS,MS,...",
            help=f"Milliseconds pushed at once, {WHOLE} for all of a clip; if not given, {CHUNKS}, "
            f"with --streams {BATCH_CHUNKS}.",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(metavar="P,P", help="fp32, int8; all that the folder has if not given."),
    ] = None,
    graph: Annotated[
        str, typer.Option(help="Search graph of the model; none for its bare tokens.")
    ] = "dictation",
    beside: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME",
            help="Other systems in the same run, at 160 ms and whole: sherpa-onnx on a twin that "
            "is exported from this model, pocketsphinx with the model of its package.",
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="How often all is measured; the medians count.")
    ] = 3,
    instructions: Annotated[
        bool,
        typer.Option(
            "--instructions",
            help="Count instructions too, by perf or, slowly, by valgrind: what energy goes with.",
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    streams: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Measure N streams as one batch through the acoustic model instead, such as "
            "1,8,64,256.",
        ),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
) -> None:
    """Measure speed, latency, memory, start-up and word errors, on one thread.

    Every precision and length of chunks runs in a fresh process; all of them hear the clips in
    turns. Clips are decoded beforehand, and each is one utterance: no endpoints, unlike `asr eval`.
    Piped, the table is Markdown.
    """
    import rich.console

    from asr.benchmark import measure, tables
    from asr.benchmark.clips import read_clips
    from asr.benchmark.instructions import method
    from asr.benchmark.peers import check as check_peers
    from asr.bundle import Bundle

    settings = Bundle.open(model).settings
    plan = measure.Plan(
        model,
        _precisions(precision, settings, device),
        _chunks(chunks or (BATCH_CHUNKS if streams else CHUNKS), settings),
        None if graph == NONE else graph,
        device,
        _names(beside, "--beside", PEERS) if beside else (),
        rounds,
        method() if instructions else None,
    )
    rows: Sequence[measure.Row | measure.BatchRow]
    if streams:
        if recordings or beside or instructions or None in plan.chunks:
            raise UsageError(
                "--streams sends noise through the acoustic model alone: give no clips, --beside, "
                f"--instructions or --chunks {WHOLE} with it"
            )
        read = []
        batches = measure.measure_batches(plan, _counts(streams))
        rows, table = batches, tables.batch_columns(batches)
    else:
        check_peers(plan.beside)
        read = read_clips(recordings or [CLIP], settings.sample_rate, clips, seed)
        console = rich.console.Console(stderr=True)
        with console.status("") as status:
            systems = measure.measure(plan, read, status.update)
        rows, table = systems, tables.columns(systems, plan)
    _print(table)
    if json:
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_text(tables.to_json(plan, read, settings.sample_rate, rows), encoding="utf-8")


def _names(text: str, option: str, known: Sequence[str]) -> tuple[str, ...]:
    """The names in a list, each once.

    Raises:
        UsageError: when one is not known.
    """
    names = tuple(dict.fromkeys(text.split(",")))
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"{option} knows {', '.join(known)}, got {unknown[0]!r}")
    return names


def _precisions(text: str | None, settings: Settings, device: str) -> tuple[str, ...]:
    if text is not None:
        return _names(text, "--precision", ("fp32", "int8"))
    return ("fp32", "int8") if settings.int8 and device == "cpu" else ("fp32",)


def _chunks(text: str, settings: Settings) -> tuple[int | None, ...]:
    """Milliseconds; a chunk has to be of whole frames for a batch, and may be for a stream."""
    try:
        chunks = dict.fromkeys(None if one == WHOLE else int(one) for one in text.split(","))
    except ValueError:
        raise UsageError(f"expected --chunks MS,MS,... such as {CHUNKS}, got {text!r}") from None
    frame = 1000 * settings.frame // settings.sample_rate
    for chunk in chunks:
        if chunk is not None and (chunk <= 0 or chunk % frame):
            raise UsageError(f"--chunks takes multiples of {frame} ms, a frame; got {chunk}")
    return tuple(chunks)


def _counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(dict.fromkeys(int(one) for one in text.split(",")))
        if min(counts) < 1:
            raise ValueError
    except ValueError:
        raise UsageError(f"expected --streams N,N,... such as 1,8,64, got {text!r}") from None
    return counts


def _print(columns: Columns) -> None:
    """A table; Markdown where it does not go to a terminal."""
    import rich.box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    box = rich.box.SIMPLE_HEAD if console.is_terminal else rich.box.MARKDOWN
    if not console.is_terminal:
        console.width = 400
    table = Table(box=box)
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left")
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    console.print(table)
