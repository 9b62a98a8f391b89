"""`asr transcribe`: recordings to transcripts."""

from __future__ import annotations

import enum
import sys
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.listening import (
    Choice,
    GrammarFile,
    LanguageModel,
    LexiconFile,
    NBest,
    PhrasesFile,
    WordsOnly,
)
from asr.cli.recognizers import Model, load
from asr.cli.recordings import STDIN, Recording, Worker, in_processes, progress, segments
from asr.errors import AsrError, AudioError, UsageError
from asr.resampler import HIGHEST_RATE, LOWEST_RATE
from asr.writers import WRITERS, Transcript, Writer

if TYPE_CHECKING:
    from collections.abc import Iterable

RATE = 16_000


class Format(str, enum.Enum):
    """Values of --format."""

    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    TSV = "tsv"
    JSON = "json"
    CTM = "ctm"
    ALL = "all"


def transcribe(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="Recordings of any format; - for raw samples on standard input "
            "(mono, 16 bits, little-endian).",
        ),
    ],
    form: Annotated[
        Format, typer.Option("--format", "-f", help="Of the transcripts.")
    ] = Format.TXT,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write to; else the transcript is printed."),
    ] = None,
    words: Annotated[
        bool, typer.Option("--words", help="Give the times of words too, in vtt, tsv and json.")
    ] = False,
    grammar: GrammarFile = None,
    words_only: WordsOnly = None,
    phrases: PhrasesFile = None,
    lexicon: LexiconFile = None,
    lm: LanguageModel = None,
    nbest: NBest = 1,
    model: Model = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto for the faster.")] = "cpu",
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Recordings at once, a process for each.")
    ] = 1,
    rate: Annotated[
        int | None,
        typer.Option(
            min=LOWEST_RATE,
            max=HIGHEST_RATE,
            help=f"Samples per second on standard input; {RATE} if not given.",
        ),
    ] = None,
) -> None:
    """Write down what is said in recordings."""
    if (rate is not None and STDIN not in files) or files.count(STDIN) > 1:
        raise UsageError(f"--rate is for {STDIN}, and {STDIN} can be given once")
    names = list(WRITERS) if form is Format.ALL else [form.value]
    if form is Format.ALL and output is None:
        raise UsageError("the transcripts of --format all need a folder: give --output")
    writers = [WRITERS[name](words) for name in names]
    recordings = [Recording(file, rate or RATE) for file in files]
    targets = [_targets(recording, output, names) for recording in recordings]
    _refuse_twice(targets)
    choice = Choice(grammar, words_only, phrases, lexicon, lm, nbest)
    recognizer = load(model, device, lm)
    listening = choice.compiled(recognizer)
    jobs = 1 if STDIN in files else min(jobs, len(files))
    with progress(recordings) as advance:
        if jobs > 1:
            worker = Worker(recognizer.bundle.path, device, lm, listening)
            results = in_processes(recordings, jobs, worker, advance)
        else:
            results = (segments(recognizer, listening, each, advance) for each in recordings)
        talks = map(Transcript, (recording.name for recording in recordings), results)
        written = [_put(talk, writers, paths) for talk, paths in zip(talks, targets, strict=True)]
    if not all(written):
        raise typer.Exit(1)


def _targets(recording: Recording, folder: Path | None, names: list[str]) -> list[Path]:
    """The file for each format; none without a folder."""
    return [folder / f"{recording.name}.{name}" for name in names] if folder else []


def _refuse_twice(targets: list[list[Path]]) -> None:
    for path, times in Counter(chain.from_iterable(targets)).items():
        if times > 1:
            raise UsageError(f"{times} recordings would be written to {path}; do them one by one")


def _put(talk: Transcript, writers: list[Writer], paths: list[Path]) -> bool:
    """Write or print a transcript; whether its recording could be read, if not it is told."""
    try:
        if paths:
            talk = Transcript(talk.name, list(talk.segments))
            for writer, path in zip(writers, paths, strict=True):
                _write(writer.pieces(talk), path)
        else:
            for piece in writers[0].pieces(talk):
                print(piece, end="", flush=True)
    except AudioError as error:
        print(f"asr: {error}", file=sys.stderr)
        return False
    return True


def _write(pieces: Iterable[str], path: Path) -> None:
    """Write a file; when that fails there is none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("w", encoding="utf-8") as file:
                file.writelines(pieces)
        except OSError:
            path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise AsrError(f"cannot write {path}: {error.strerror}") from None
