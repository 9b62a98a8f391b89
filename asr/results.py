"""What a stream says: words, segments, and the events that carry them.

Times are seconds from the first sample of the stream; confidences lie in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """A recognised word.

    Attributes:
        text: the word as the lexicon spells it.
        start: seconds from the stream's first sample.
        end: seconds, later than `start`.
        confidence: geometric mean of the posteriors of the word's tokens, in [0, 1].
    """

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Segment:
    """The words between two endpoints; `text` is theirs, joined by spaces."""

    text: str
    start: float
    end: float
    confidence: float
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class SpeechStart:
    """Speech was heard after silence, at `time` seconds."""

    time: float


@dataclass(frozen=True, slots=True)
class Partial:
    """The hypothesis for the segment that is being spoken.

    Attributes:
        text: the whole hypothesis.
        stable: the beginning of `text` that no later partial and no final will change.
        time: seconds up to which audio has been decoded.
    """

    text: str
    stable: str
    time: float


@dataclass(frozen=True, slots=True)
class Final:
    """A segment that is over and will not change."""

    segment: Segment


@dataclass(frozen=True, slots=True)
class SpeechEnd:
    """The speaker fell silent; the last word ended at `time` seconds."""

    time: float


Event = SpeechStart | Partial | Final | SpeechEnd
