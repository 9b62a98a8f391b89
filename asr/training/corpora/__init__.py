"""Corpora as they are published: which recordings there are, and what is said in them.

Each module reads one layout and yields an `Entry` for every utterance that it finds, or a `Skipped`
for what is no utterance. Nothing is left out in silence; that is why lhotse's own recipes, which
pass over a missing recording and stop at a broken one, are not used here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NO_TRANSCRIPT = "no transcript"
NO_AUDIO = "no audio"
BAD_LINE = "bad line"


@dataclass(frozen=True)
class Entry:
    """An utterance as published; neither its recording nor its text has been looked at.

    Attributes:
        id: names it in its split.
        audio: one file, one utterance.
        text: as published.
        speaker: who speaks; None where nothing is known.
        source: corpus that it is of.
    """

    id: str
    audio: Path
    text: str
    speaker: str | None
    source: str


@dataclass(frozen=True)
class Skipped:
    """What cannot be trained on.

    Attributes:
        id: of the utterance, or where it was found.
        reason: in a few words, to count by.
        detail: what exactly was wrong.
    """

    id: str
    reason: str
    detail: str


Entries = Iterator["Entry | Skipped"]
