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
        confidence: how likely the word is right, in [0, 1], if the model has weights for that (see
            docs/confidence.md); else the geometric mean of the posteriors of its tokens.
    """

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Match:
    """What was said and what it means, if it follows a grammar.

    Attributes:
        words: what was said.
        rule: the public rule that it follows; None if that is not decided yet.
        intent: what a tag `{intent=...}` says, else the rule.
        slots: what tags `{name=value}` say; of several with one name the last counts.
        tags: the other tags, in the order in which they were come by.
    """

    words: tuple[str, ...]
    rule: str | None
    intent: str | None
    slots: dict[str, str]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Alternative:
    """Words that could have been said instead.

    Attributes:
        text: the words, joined by spaces.
        score: how much likelier it is than the likeliest of them, in nats, as the search weighs it:
            0 or less. Where a language model decides the first may be less likely than another.
        words: each with its times.
        match: what they mean, if there is a grammar.
    """

    text: str
    score: float
    words: tuple[Word, ...]
    match: Match | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """The words between two endpoints.

    Attributes:
        text: the words, joined by spaces.
        start: seconds from the stream's first sample, where the first word begins.
        end: the same, where the last word ends.
        confidence: in [0, 1]: the mean of the words'; with a grammar, how likely the sentence was
            said, and not something that the grammar does not allow.
        words: each with its times.
        alternatives: the likeliest hypotheses, before which this one stands, if they were asked
            for.
        match: what was meant, if there is a grammar.
    """

    text: str
    start: float
    end: float
    confidence: float
    words: tuple[Word, ...]
    alternatives: tuple[Alternative, ...] = ()
    match: Match | None = None


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
class Rejected:
    """A segment that is over, in which nothing was said that the grammar allows.

    Attributes:
        segment: what came nearest to it; without `match` if that is no whole sentence.
    """

    segment: Segment


@dataclass(frozen=True, slots=True)
class SpeechEnd:
    """The speaker fell silent; the last word ended at `time` seconds."""

    time: float


Event = SpeechStart | Partial | Final | Rejected | SpeechEnd
