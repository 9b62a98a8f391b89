"""Recordings on their way to segments, one after the other or several at once."""

from __future__ import annotations

import signal
import sys
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asr
from asr.cli.recognizers import knowledge
from asr.errors import AsrError, AudioError, UsageError
from asr.results import Final, Rejected, Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.synchronize import Event

    import numpy as np
    from numpy.typing import NDArray

    from asr.cli.listening import Listening
    from asr.recognizer import Recognizer

    Result = Segment | Rejected
    Advance = Callable[[float], None]
    """Is told how many seconds more have been transcribed."""

STDIN = "-"
GLANCE = 0.2
"""Seconds between two looks at how far the processes are."""


@dataclass(frozen=True)
class Recording:
    """A file, or raw samples on standard input.

    Attributes:
        path: of the file; `-` for standard input.
        rate: samples per second on standard input.
    """

    path: str
    rate: int

    @property
    def name(self) -> str:
        """The name of the file without its folder and suffix."""
        return "stdin" if self.path == STDIN else Path(self.path).stem

    @property
    def seconds(self) -> float:
        """How long it is, as far as it is known before it has been read; else 0."""
        from asr.audio import duration

        try:
            return 0.0 if self.path == STDIN else duration(self.path) or 0.0
        except AudioError:
            return 0.0

    def blocks(self, rate: int) -> Iterator[NDArray[np.float32]]:
        """Its samples at a rate.

        Raises:
            AudioError: when there are none.
        """
        from asr.audio import read, read_pcm

        if self.path != STDIN:
            yield from read(self.path, rate)
            return
        if sys.stdin.isatty():
            raise UsageError("expected raw samples on standard input, got a terminal")
        count = 0
        for block in read_pcm(sys.stdin.buffer, self.rate, rate):
            count += len(block)
            yield block
        if not count:
            raise AudioError("there are no samples on standard input")


def segments(
    recognizer: Recognizer, listening: Listening, recording: Recording, advance: Advance
) -> Iterator[Result]:
    """What is said in a recording, each segment as soon as it is over.

    Raises:
        AudioError: when it cannot be read.
    """
    rate = recognizer.bundle.settings.sample_rate
    stream = listening.stream(recognizer)
    for block in recording.blocks(rate):
        yield from _results(stream.push(block, rate))
        advance(len(block) / rate)
    yield from _results(stream.flush())


def _results(events: Iterable[object]) -> Iterator[Result]:
    for event in events:
        if isinstance(event, Final):
            yield event.segment
        elif isinstance(event, Rejected):
            yield event


@dataclass(frozen=True)
class Worker:
    """What a process loads to transcribe.

    Attributes:
        model: folder of the model.
        device: what the model runs on.
        lm: file of a search graph that takes the place of the model's own.
        listening: what to listen for.
    """

    model: Path
    device: str
    lm: Path | None
    listening: Listening


def in_processes(
    recordings: list[Recording], jobs: int, worker: Worker, advance: Advance
) -> Iterator[Iterator[Result]]:
    """Transcribe several recordings at once; the results come in the order of the recordings.

    Args:
        recordings: files.
        jobs: number of processes.
        worker: what every process loads.
        advance: is told of progress.
    """
    context = get_context("spawn")
    done, stop = context.Value("d", 0.0), context.Event()
    pool = ProcessPoolExecutor(jobs, context, _begin_worker, (worker, done, stop))
    try:
        futures = [pool.submit(_work, recording) for recording in recordings]
        for future in futures:
            yield _result(future, done, advance)
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _result(future: Future[list[Result]], done: Any, advance: Advance) -> Iterator[Result]:
    """Wait for a process, and tell of the progress of all of them meanwhile."""
    waiting = True
    while waiting:
        waiting = bool(wait_for([future], GLANCE).not_done)
        with done.get_lock():
            seconds, done.value = done.value, 0.0
        advance(seconds)
    try:
        yield from future.result()
    except BrokenProcessPool:
        raise AsrError(
            "a process was killed, as happens when memory runs out; try a smaller --jobs"
        ) from None


_recognizer: Recognizer
_listening: Listening
_done: Any
_stop: Event


def _begin_worker(worker: Worker, done: Any, stop: Event) -> None:
    global _recognizer, _listening, _done, _stop
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _recognizer = asr.load(worker.model, device=worker.device, **knowledge(worker.lm))
    _listening, _done, _stop = worker.listening, done, stop


def _work(recording: Recording) -> list[Result]:
    return list(segments(_recognizer, _listening, recording, _advance))


def _advance(seconds: float) -> None:
    if _stop.is_set():
        raise KeyboardInterrupt
    with _done.get_lock():
        _done.value += seconds


@contextmanager
def progress(recordings: list[Recording]) -> Iterator[Advance]:
    """A bar with speed and time left while there is a terminal to show it; else nothing."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("left{task.fields[speed]}"),
    )
    total = sum(recording.seconds for recording in recordings)
    with Progress(
        *columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()
    ) as bar:
        task = bar.add_task("", total=total or None, speed="")

        def advance(seconds: float) -> None:
            bar.advance(task, seconds)
            speed = bar.tasks[0].speed
            bar.update(task, speed=f" at {speed:.0f} times real time" if speed else "")

        yield advance
