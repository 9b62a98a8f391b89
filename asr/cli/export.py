"""`asr export`: from a checkpoint to a model folder, and from there to other runtimes."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asr.errors import ExportError, UsageError

if TYPE_CHECKING:
    from asr.decoding.grammar import Grammar
    from asr.export.source import Source


class Runtime(str, Enum):
    """Who is to run the model."""

    RILL = "rill"
    ORT = "ort"
    SHERPA = "sherpa-onnx"
    WEB = "web"


def export(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="model.pt of a training run, or a model folder. Several of one recipe with "
            "different seeds become one model, which is more often right than any of them.",
            exists=True,
        ),
    ],
    target: Annotated[Path, typer.Argument(help="The folder to write, such as models/en-small.")],
    to: Annotated[
        Runtime,
        typer.Option(
            help="rill; ort for onnxruntime's own format, for reduced builds of it; sherpa-onnx; "
            "or web, a page that recognises speech in the browser."
        ),
    ] = Runtime.RILL,
    int8: Annotated[bool, typer.Option(help="Write the model in 8-bit integers as well.")] = True,
    half: Annotated[
        bool,
        typer.Option(
            "--half", help="Round the floats to 16 bits and store them so: half the size."
        ),
    ] = False,
    gate: Annotated[
        Path | None,
        typer.Option(
            help="Manifest of speech, as `asr prepare` writes. Nothing is written if int8 makes "
            "over 2 % more word errors on it than fp32.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    graph: Annotated[
        Path | None,
        typer.Option(
            help="Dictation graph that `asr graph` built, to ship with it.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    language_model: Annotated[
        Path | None,
        typer.Option(
            help="Language model that `asr lm export` wrote, to ship with it.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    grammar: Annotated[
        Path | None,
        typer.Option(
            help="For sherpa-onnx: a grammar in JSGF in the place of the dictation graph.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    card: Annotated[
        Path | None, typer.Option(help="Model card in Markdown.", exists=True, dir_okay=False)
    ] = None,
    version: Annotated[str | None, typer.Option(help="Version of the model.")] = None,
    language: Annotated[str | None, typer.Option(help="BCP 47 tag of its language.")] = None,
    terms: Annotated[str | None, typer.Option("--license", help="SPDX expression.")] = None,
    data: Annotated[str | None, typer.Option(help="What it was trained on, in a line.")] = None,
    beam: Annotated[
        float | None,
        typer.Option(help="Hypotheses this many nats below the best are given up, chosen on dev."),
    ] = None,
    max_active: Annotated[
        int | None,
        typer.Option(help="A frame leaves at most so many hypotheses, chosen on dev."),
    ] = None,
    acoustic_scale: Annotated[
        float | None,
        typer.Option(help="Weight of the acoustic model against the graph, chosen on dev."),
    ] = None,
    prior_scale: Annotated[
        float | None,
        typer.Option(help="How much of the tokens' priors is taken off, chosen on dev."),
    ] = None,
    language_scale: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of the language model against the graph's, chosen on dev."
        ),
    ] = None,
    onnxruntime_web: Annotated[
        Path | None,
        typer.Option(
            help="For web: folder of the unpacked npm package; without it npm gets the package.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
) -> None:
    """Write a model folder, after a check that it computes what the checkpoint does.

    What is not given is taken from the model folder, where the first source is one.
    """
    given = {
        "version": version,
        "language": language,
        "license": terms,
        "data": data,
        "language_scale": language_scale,
    }
    search = {
        "beam": beam,
        "max_active": max_active,
        "acoustic_scale": acoustic_scale,
        "prior_scale": prior_scale,
    }
    files = (gate, graph, grammar, card, language_model)
    if to is Runtime.WEB:
        if any((*files, half, *search.values(), *given.values())) or not int8:
            raise UsageError("--to web takes a model folder as it is; export that first")
        if len(sources) > 1:
            raise UsageError("--to web takes one model folder; join the models first")
        _to_web(sources[0], target, onnxruntime_web)
        return
    if onnxruntime_web:
        raise UsageError("--onnxruntime-web goes with --to web")
    from asr.export.source import Source

    opened = Source.joined(sources)
    facts = {**DEFAULTS, **opened.facts, **{name: v for name, v in given.items() if v is not None}}
    facts["search"] = _search(opened, sources[0], search)
    graphs = {**opened.graphs, **({"dictation": graph} if graph else {})}
    if to is Runtime.SHERPA:
        if gate or card or language_model or language_scale is not None:
            raise UsageError(
                "--gate, --card and the language model are for a model folder; export one first"
            )
        _to_sherpa(opened, target, _graph(graphs.get("dictation"), grammar), int8, facts)
        return
    if grammar:
        raise UsageError("--grammar goes with --to sherpa-onnx; Rill reads grammars as they are")
    from asr.export.folder import export as write
    from asr.export.half import halved

    report = write(
        halved(opened.model) if half else opened.model,
        opened.tokens,
        target,
        graphs=graphs,
        language_model=language_model or opened.language_model,
        card=card or opened.card,
        int8=int8,
        ort=to is Runtime.ORT,
        dev=gate,
        **facts,
    )
    typer.echo(f"{target}: at most {report.difference:.1e} off torch")
    if report.gate:
        typer.echo(f"{target}: {report.gate}")
    elif int8:
        typer.echo(f"{target}: what int8 costs in words was not measured; --gate does that")


DEFAULTS = {"version": "1", "language": "en", "license": "Apache-2.0", "data": "not said"}


def _search(source: Source, path: Path, given: dict[str, float | None]) -> dict[str, Any]:
    """Settings of the search: the folder's, with what was given in their place."""
    known = source.facts.get("search") or {
        "acoustic_scale": 1.0,
        "prior_scale": 0.6,
        "priors": [round(prior, 6) for prior in source.priors],
    }
    search = {**known, **{name: value for name, value in given.items() if value is not None}}
    if search.get("prior_scale") and not search.get("priors"):
        raise ExportError(f"{path} holds no priors of its tokens; give --prior-scale 0")
    return search


def _graph(dictation: Path | None, grammar: Path | None) -> Path | Grammar | None:
    """What sherpa-onnx is to search in; a grammar's words are said as the graph has them."""
    if grammar is None:
        return dictation
    from asr.decoding.grammar import Grammar, Known
    from asr.decoding.phone_graph import PhoneGraph

    lexicon = Known(PhoneGraph.load(dictation).vocabulary) if dictation else {}
    return Grammar.load(grammar, lexicon)


def _to_sherpa(
    source: Source,
    target: Path,
    graph: Path | Grammar | None,
    int8: bool,
    facts: dict[str, Any],
) -> None:
    from asr.export.sherpa import export as write
    from asr.export.sherpa import padding

    properties = {name: facts[name] for name in ("language", "license")}
    difference = write(
        source.model,
        source.tokens,
        target,
        graph=graph,
        search=facts["search"],
        int8=int8,
        **properties,
    )
    typer.echo(f"{target}: at most {difference:.1e} off torch")
    typer.echo(f"{target}: push {padding(source.model):.2f} s of zeros behind the last sample")


def _to_web(source: Path, target: Path, runtime: Path | None) -> None:
    from asr.export.web import export as write

    report = write(source, target, runtime=runtime)
    megabytes = report.download / 1e6
    typer.echo(f"{target}: the model in {report.precision}, {megabytes:.1f} MB to download")
    typer.echo(f"{target}: see it with python -m http.server --directory {target}")
