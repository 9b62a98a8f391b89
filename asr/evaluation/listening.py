"""An utterance streamed as from a microphone, and what was on the screen at which time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from asr.results import Final, Partial, Word

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from asr.recognizer import Recognizer
    from asr.results import Event

SILENCE = 2.0
"""Seconds of silence after an utterance, as a microphone goes on when the speaker is done."""


@dataclass(frozen=True, slots=True)
class Display:
    """What a reader sees: the words of all finals so far, and behind them those of the partial.

    Attributes:
        time: seconds of audio that had been pushed when it changed to this.
        words: all of them, in order.
        settled: how many of them are of finals.
    """

    time: float
    words: tuple[str, ...]
    settled: int


@dataclass(frozen=True, slots=True)
class Hearing:
    """What a stream made of an utterance.

    Attributes:
        words: of the finals.
        displays: each differs from the one before.
        ended: seconds of audio that had been pushed when the last final came; None when nothing
            was heard, or the final came by `flush` and not by an endpoint.
        alternatives: of each final, the texts that it could have been, if they were asked for.
    """

    words: tuple[Word, ...]
    displays: tuple[Display, ...]
    ended: float | None
    alternatives: tuple[tuple[str, ...], ...] = ()

    @property
    def text(self) -> str:
        """The words of the finals."""
        return " ".join(word.text for word in self.words)


def hear(
    recognizer: Recognizer, samples: NDArray[np.float32], chunk: float, nbest: int = 1
) -> Hearing:
    """Stream an utterance and the silence behind it.

    Args:
        recognizer: hears it.
        samples: [S] at the model's rate.
        chunk: seconds that are pushed at once.
        nbest: how many alternatives each final shall have, if more than one.
    """
    rate = recognizer.bundle.settings.sample_rate
    size = max(1, round(chunk * rate))
    audio = np.pad(samples, (0, round(SILENCE * rate)))
    stream = recognizer.stream(nbest=nbest)
    screen = _Screen()
    for begin in range(0, len(audio), size):
        screen.show(stream.push(audio[begin : begin + size], rate), stream.time)
    ended = screen.ended
    flushed = stream.flush()
    screen.show(flushed, stream.time)
    late = any(isinstance(event, Final) for event in flushed)
    return Hearing(
        tuple(screen.words),
        tuple(screen.displays),
        None if late else ended,
        tuple(screen.alternatives),
    )


class _Screen:
    """Follows the events of a stream."""

    def __init__(self) -> None:
        self.words: list[Word] = []
        self.displays: list[Display] = []
        self.ended: float | None = None
        self.alternatives: list[tuple[str, ...]] = []
        self._partial: list[str] = []

    def show(self, events: list[Event], time: float) -> None:
        """Take up the events of one push, after which `time` seconds had been pushed."""
        for event in events:
            if isinstance(event, Final):
                self.words += event.segment.words
                texts = tuple(other.text for other in event.segment.alternatives)
                self.alternatives.append(texts or (event.segment.text,))
                self.ended = time
                self._partial = []
            elif isinstance(event, Partial):
                self._partial = event.text.split()
        words = (*(word.text for word in self.words), *self._partial)
        if words != (self.displays[-1].words if self.displays else ()):
            self.displays.append(Display(time, words, len(self.words)))
