"""`asr mic`: words while they are spoken into a microphone."""

from __future__ import annotations

import signal
import wave
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
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
from asr.errors import AsrError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

    from numpy.typing import NDArray

    from asr.microphone import Microphone
    from asr.results import Event
    from asr.stream import Stream

    Show = Callable[[Iterable[Event], NDArray[np.float32] | None, str], None]


def mic(
    device: Annotated[
        str | None,
        typer.Option("--device", "-d", help="Number of the microphone, or a part of its name."),
    ] = None,
    list_devices: Annotated[
        bool, typer.Option("--list-devices", help="List the microphones, and end.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each event as a line of JSON.")
    ] = False,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE.wav", help="Keep what is heard.")
    ] = None,
    grammar: GrammarFile = None,
    words_only: WordsOnly = None,
    phrases: PhrasesFile = None,
    lexicon: LexiconFile = None,
    lm: LanguageModel = None,
    nbest: NBest = 1,
    model: Model = None,
) -> None:
    """Write down what is said into a microphone; Ctrl-C ends it."""
    from asr.microphone import Microphone, choose, devices

    found = devices()
    if list_devices:
        for each in found:
            typer.echo(each)
        return
    choice = Choice(grammar, words_only, phrases, lexicon, lm, nbest)
    chosen = choose(found, device)
    recognizer = load(model, lm=lm)
    stream = choice.compiled(recognizer).stream(recognizer)
    with ExitStack() as stack:
        keep = stack.enter_context(saving(save, chosen.rate)) if save else None
        show = _print_json if as_json else stack.enter_context(_live_text())
        microphone = stack.enter_context(Microphone(chosen))
        stack.enter_context(_until_signal(microphone.stop))
        typer.echo(f"listening to {chosen.name}, Ctrl-C ends", err=True)
        _listen(microphone, stream, show, keep)


def _listen(
    microphone: Microphone,
    stream: Stream,
    show: Show,
    keep: Callable[[NDArray[np.float32]], None] | None,
) -> None:
    """Recognise until the microphone stops, or is gone; either way nothing heard is lost."""
    rate = microphone.device.rate
    try:
        for block in microphone.blocks():
            if keep:
                keep(block)
            lost = microphone.dropped / rate
            show(stream.push(block, rate), block, f"{lost:.1f} s lost " if lost else "")
    finally:
        show(stream.flush(), None, "")
        if microphone.dropped:
            lost = microphone.dropped / rate
            typer.echo(f"{lost:.1f} s of sound were lost: this machine is too slow", err=True)


@contextmanager
def _live_text() -> Iterator[Show]:
    from asr.cli.live import LiveText

    with LiveText() as text:
        yield text.show


def _print_json(events: Iterable[Event], *_: object) -> None:
    from asr.writers import event_json

    for event in events:
        print(event_json(event), flush=True)


@contextmanager
def _until_signal(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` at the first SIGINT or SIGTERM; the second one acts as it always does."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, _: FrameType | None) -> None:
        signal.signal(number, before[signal.Signals(number)])
        stop()

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def saving(path: Path, rate: int) -> Iterator[Callable[[NDArray[np.float32]], None]]:
    """Write blocks of mono sound to a wav file that is whole after each of them.

    Raises:
        AsrError: when it cannot be written, such as on a full disk.
    """
    try:
        with path.open("wb", buffering=0) as file, wave.open(file) as recording:
            recording.setparams((1, 2, rate, 0, "NONE", "not compressed"))
            recording.writeframes(b"")
            yield lambda block: recording.writeframes((block * 32767).astype("<i2").tobytes())
    except BrokenPipeError:  # of standard output, not of the file
        raise
    except OSError as error:
        raise AsrError(f"cannot write {path}: {error.strerror}") from None
