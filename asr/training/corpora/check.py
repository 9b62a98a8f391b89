"""Whether an utterance can be trained on: its text folded, its recording decoded to the end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path

import av
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from rich.console import Console
from rich.progress import track

from asr.audio import read
from asr.errors import AudioError
from asr.nn.frontend import RATE
from asr.training.corpora import NO_AUDIO, NO_TRANSCRIPT, Entries, Entry, Skipped
from asr.training.transcripts import normalise, outside

LETTERS_PER_SECOND = 30
"""More than anybody says: of the 26,908 clips that en-small learnt from, the fastest has 25."""


def checked(name: str, entries: Entries) -> Iterator[MonoCut | Skipped]:
    """Look at every utterance of a split; of several with the same id the first counts.

    Args:
        name: of the split, for the progress bar.
        entries: the split.

    Yields:
        a cut with one supervision for each utterance that can be used.
    """
    seen: set[str] = set()
    unique: list[Entry] = []
    for entry in entries:
        if isinstance(entry, Skipped):
            yield entry
        elif entry.id in seen:
            yield Skipped(entry.id, "duplicate id", f"of {entry.audio}")
        else:
            seen.add(entry.id)
            unique.append(entry)
    console = Console(stderr=True)
    with _Damage() as damage, ThreadPool() as pool:
        work = pool.imap(lambda entry: _check(entry, damage), unique, chunksize=16)
        yield from track(work, name, len(unique), console=console, disable=not console.is_terminal)


def _check(entry: Entry, damage: _Damage) -> MonoCut | Skipped:
    text = normalise(entry.text)
    if unknown := outside(text):
        return Skipped(entry.id, "text outside the alphabet", f"{unknown} in {entry.text!r}")
    if not text:
        return Skipped(entry.id, NO_TRANSCRIPT, f"the text is {entry.text!r}")
    if not entry.audio.is_file():
        return Skipped(entry.id, NO_AUDIO, f"there is no file {entry.audio}")
    try:
        seconds, loudest = _listen(entry.audio)
    except AudioError as error:
        return Skipped(entry.id, "unreadable audio", str(error))
    if problem := damage.of_this_thread():
        return Skipped(entry.id, "damaged audio", problem)
    if not loudest:
        return Skipped(entry.id, "silent audio", f"every sample of {entry.audio} is zero")
    if len(text) > LETTERS_PER_SECOND * seconds:
        detail = f"{len(text)} letters in {seconds:.2f} s of {entry.audio}"
        return Skipped(entry.id, "transcript too long for its audio", detail)
    return _cut(entry, text, seconds)


def _listen(path: Path) -> tuple[float, float]:
    """Seconds and largest absolute sample of a recording.

    Raises:
        AudioError: when it cannot be read.
    """
    samples, loudest = 0, 0.0
    for block in read(path, RATE):
        samples += len(block)
        loudest = max(loudest, float(abs(block).max()))
    return samples / RATE, loudest


def _cut(entry: Entry, text: str, seconds: float) -> MonoCut:
    with av.open(f"file:{entry.audio}", metadata_errors="ignore") as container:
        stream = container.streams.audio[0]
        rate, channels = stream.rate, stream.channels
    samples = round(seconds * rate)
    seconds = samples / rate
    speech = SupervisionSegment(
        id=entry.id,
        recording_id=entry.id,
        start=0,
        duration=seconds,
        text=text,
        speaker=entry.speaker,
        custom={"source": entry.source},
    )
    recording = Recording(
        id=entry.id,
        sources=[AudioSource("file", list(range(channels)), source=str(entry.audio.resolve()))],
        sampling_rate=rate,
        num_samples=samples,
        duration=seconds,
    )
    return MonoCut(
        id=entry.id,
        start=0,
        duration=seconds,
        channel=0,
        recording=recording,
        supervisions=[speech],
    )


class _Damage(logging.Handler):
    """Hears what `asr.audio` warns of while it decodes, by thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._messages: dict[int | None, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning."""
        self._messages[record.thread] = record.getMessage()

    def of_this_thread(self) -> str:
        """The warning about what this thread decoded last; nothing, if there was none."""
        return self._messages.pop(threading.get_ident(), "")

    def __enter__(self) -> _Damage:
        logging.getLogger("asr.audio").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("asr.audio").removeHandler(self)
