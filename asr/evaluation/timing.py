"""What only a streaming system has: how late words appear, and how many are taken back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asr.evaluation.alignment import Span
    from asr.evaluation.listening import Display, Hearing
    from asr.evaluation.scoring import Edit


@dataclass(frozen=True)
class Timing:
    """Measured over one utterance or many; all but the counts in seconds.

    Delays are in audio time, so the time that computing takes is not in them, and the wait until
    a chunk is full is.

    Attributes:
        emission: of each correct word, from its end in the alignment until it was first shown at
            its place and stayed; negative for a word that was guessed before its end.
        first: from the start of the first word in the alignment until anything was shown.
        final: from the end of the last word in the alignment until the last final.
        starts: of each correct word, start in the final less start in the alignment.
        ends: the same for its end.
        shown: words that appeared on the screen in a partial, at a place where they did not stand
            a moment before.
        changed: of these, those that do not stand there in the finals.
        unaligned: utterances that could not be aligned.
        unended: utterances that only the end of the stream ended, though silence followed.
    """

    emission: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    final: list[float] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    shown: int = 0
    changed: int = 0
    unaligned: int = 0
    unended: int = 0

    @classmethod
    def of(cls, hearing: Hearing, edits: Iterable[Edit], spans: Sequence[Span] | None) -> Timing:
        """Measure an utterance.

        Args:
            hearing: what the stream made of it.
            edits: what was heard beside what was said.
            spans: of each word that was said; None when it could not be aligned.
        """
        changed, shown = flicker(hearing)
        unended = int(bool(hearing.words) and hearing.ended is None)
        if spans is None:
            return cls(shown=shown, changed=changed, unaligned=1, unended=unended)
        emitted = emission_times(hearing)
        hits = [
            (hearing.words[edit.heard], spans[edit.said], emitted[edit.heard])
            for edit in edits
            if edit.hit and edit.said is not None and edit.heard is not None
        ]
        return cls(
            emission=[time - span.end for _, span, time in hits],
            first=[display.time - spans[0].start for display in hearing.displays[:1]],
            final=[] if hearing.ended is None else [hearing.ended - spans[-1].end],
            starts=[word.start - span.start for word, span, _ in hits],
            ends=[word.end - span.end for word, span, _ in hits],
            shown=shown,
            changed=changed,
            unended=unended,
        )

    @classmethod
    def all(cls, timings: Iterable[Timing]) -> Timing:
        """Those of many utterances in one."""
        whole = cls()
        for one in timings:
            whole = whole + one
        return whole

    def __add__(self, other: Timing) -> Timing:
        return Timing(**{name: getattr(self, name) + value for name, value in vars(other).items()})

    @property
    def flicker(self) -> float:
        """Share of the words shown in partials that were changed later; NaN if there were none."""
        return self.changed / self.shown if self.shown else float("nan")


def emission_times(hearing: Hearing) -> list[float]:
    """Of each word of the finals, the time from which on the screen had it at its place."""
    return [_since(place, word.text, hearing.displays) for place, word in enumerate(hearing.words)]


def _since(place: int, text: str, displays: Sequence[Display]) -> float:
    time = displays[-1].time
    for display in reversed(displays):
        if display.words[place : place + 1] != (text,):
            break
        time = display.time
    return time


def flicker(hearing: Hearing) -> tuple[int, int]:
    """Words that partials showed and that do not stand in the finals, and all that they showed."""
    final = tuple(word.text for word in hearing.words)
    changed = shown = 0
    before: tuple[str, ...] = ()
    for display in hearing.displays:
        for place, word in enumerate(display.words):
            if place >= display.settled and before[place : place + 1] != (word,):
                shown += 1
                changed += final[place : place + 1] != (word,)
        before = display.words
    return changed, shown


def spread(seconds: Sequence[float]) -> tuple[float, float]:
    """Median and 95th percentile; NaN of nothing."""
    if not seconds:
        return float("nan"), float("nan")
    median, high = np.percentile(seconds, [50, 95])
    return float(median), float(high)


def mean_absolute(seconds: Sequence[float]) -> float:
    """Mean of the absolute values; NaN of nothing."""
    return float(np.mean(np.abs(seconds))) if seconds else float("nan")
