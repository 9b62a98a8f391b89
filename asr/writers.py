"""Transcripts as text, subtitles, tables, JSON and CTM: one class per format."""

from __future__ import annotations

import html
import json
import re
import textwrap
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING

from asr.results import Final, Rejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from asr.results import Alternative, Event, Match, Segment, Word

LINE, LINES = 42, 2
"""Characters of a subtitle's line, and its lines, as most style guides for subtitles have it."""
LONGEST, SHORTEST = 7.0, 1.0
"""Seconds that a subtitle stays; the shortest gives way to the subtitle after it."""
PAUSE = 0.8
"""Seconds of silence between two words that end a subtitle."""

REJECTED = "[rejected]"
"""What stands in text where a grammar allows nothing that was said."""


@dataclass(frozen=True)
class Transcript:
    """What was said in a recording: its name, and its segments in the order of time.

    Those that a grammar rejected are among them.
    """

    name: str
    segments: Iterable[Segment | Rejected]

    @property
    def accepted(self) -> Iterator[Segment]:
        """The segments without those that were rejected."""
        return (segment for segment in self.segments if not isinstance(segment, Rejected))


@dataclass(frozen=True)
class Writer(ABC):
    """A format of transcripts.

    Attributes:
        words: whether to give the times of single words, where the format leaves the choice.
    """

    words: bool = False

    @abstractmethod
    def pieces(self, transcript: Transcript) -> Iterator[str]:
        """The transcript in pieces, each as soon as the segments before it allow."""


class Text(Writer):
    """Plain text, a segment a line."""

    def pieces(self, transcript: Transcript) -> Iterator[str]:
        """See `Writer`."""
        for segment in transcript.segments:
            yield f"{REJECTED if isinstance(segment, Rejected) else segment.text}\n"


class SubRip(Writer):
    """Subtitles in SubRip's format."""

    def pieces(self, transcript: Transcript) -> Iterator[str]:
        """See `Writer`."""
        for number, cue in enumerate(cues(transcript.accepted), start=1):
            times = f"{clock(cue.start, ',')} --> {clock(cue.end, ',')}"
            text = "\n".join(" ".join(word.text for word in line) for line in cue.lines)
            yield f"{number}\n{times}\n{text}\n\n"


class WebVtt(Writer):
    """Subtitles as https://www.w3.org/TR/webvtt1 has them."""

    def pieces(self, transcript: Transcript) -> Iterator[str]:
        """See `Writer`."""
        yield "WEBVTT\n\n"
        for cue in cues(transcript.accepted):
            text = "\n".join(" ".join(self._word(word, cue) for word in line) for line in cue.lines)
            yield f"{clock(cue.start, '.')} --> {clock(cue.end, '.')}\n{text}\n\n"

    def _word(self, word: Word, cue: Cue) -> str:
        text = html.escape(word.text, quote=False)
        timed = self.words and cue.start < word.start < cue.end
        return f"<{clock(word.start, '.')}>{text}" if timed else text


class Tsv(Writer):
    """A table of start, end (milliseconds) and text; a row is a segment, or a word."""

    def pieces(self, transcript: Transcript) -> Iterator[str]:
        """See `Writer`."""
        yield "start\tend\ttext\n"
        for segment in transcript.accepted:
            for row in segment.words if self.words else (segment,):
                yield f"{row.start * 1000:.0f}\t{row.end * 1000:.0f}\t{row.text}\n"


class Json(Writer):
    """An object with the name, the text and the segments."""

    def pieces(self, transcript: Transcript) -> Iterator[str]:
        """See `Writer`."""
        listed = list(transcript.segments)
        talk = {
            "name": transcript.name,
            "text": " ".join(each.text for each in listed if not isinstance(each, Rejected)),
            "segments": [_facts(segment, self.words) for segment in listed],
        }
        yield json.dumps(talk, ensure_ascii=False, indent=2) + "\n"


class Ctm(Writer):
    """NIST's time-marked conversation: recording, channel, start, duration, word, confidence."""

    def pieces(self, transcript: Transcript) -> Iterator[str]:
        """See `Writer`."""
        recording = "_".join(transcript.name.split())
        for word in chain.from_iterable(segment.words for segment in transcript.accepted):
            length = word.end - word.start
            yield f"{recording} 1 {word.start:.2f} {length:.2f} {word.text} {word.confidence:.2f}\n"


WRITERS: dict[str, type[Writer]] = {
    "txt": Text,
    "srt": SubRip,
    "vtt": WebVtt,
    "tsv": Tsv,
    "json": Json,
    "ctm": Ctm,
}
"""The formats by the suffix of their files."""


@dataclass(frozen=True)
class Cue:
    """A subtitle: its words line by line, and when it is shown, in seconds."""

    start: float
    end: float
    lines: tuple[tuple[Word, ...], ...]


def cues(segments: Iterable[Segment]) -> Iterator[Cue]:
    """Cut segments into subtitles that can be read at ease."""
    groups = chain.from_iterable(_groups(segment.words) for segment in segments)
    for words, following in pairwise(chain(groups, [None])):
        assert words is not None
        start, end = words[0].start, max(words[-1].end, words[0].start + SHORTEST)
        if following is not None:
            end = min(end, following[0].start)
        yield Cue(start, max(end, words[-1].end), _lines(words))


def _groups(words: Iterable[Word]) -> Iterator[list[Word]]:
    """The words of each subtitle."""
    group: list[Word] = []
    for word in words:
        if group and (
            len(_lines([*group, word])) > LINES
            or word.end - group[0].start > LONGEST
            or word.start - group[-1].end > PAUSE
        ):
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _lines(words: list[Word]) -> tuple[tuple[Word, ...], ...]:
    """Fill one line after the other; a word that is longer than a line has its own."""
    rest = iter(words)
    text = " ".join(word.text for word in words)
    lines = textwrap.wrap(text, LINE, break_long_words=False, break_on_hyphens=False)
    return tuple(tuple(next(rest) for _ in line.split()) for line in lines)


def clock(seconds: float, point: str) -> str:
    """Hours, minutes, seconds and milliseconds, as in 01:02:03.004."""
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"


def event_json(event: Event) -> str:
    """An event of a stream as a line of JSON; its `type` is the name of its class."""
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(event).__name__).lower()
    if isinstance(event, Final):
        facts = _facts(event.segment, words=True)
    elif isinstance(event, Rejected):
        facts = _span(event.segment)
    else:
        facts = {**asdict(event), "time": round(event.time, 3)}
    return json.dumps({"type": kind, **facts}, ensure_ascii=False)


def meaning(match: Match) -> dict[str, object]:
    """What a sentence of a grammar means, for JSON; only what there is."""
    tags = {"tags": list(match.tags)} if match.tags else {}
    return {"intent": match.intent, "slots": match.slots, **tags}


def _facts(segment: Segment | Rejected, words: bool) -> dict[str, object]:
    if isinstance(segment, Rejected):
        return {**_span(segment.segment), "rejected": True}
    facts = {**_span(segment), "text": segment.text}
    if segment.match:
        facts |= meaning(segment.match)
    if segment.alternatives:
        facts["alternatives"] = [_alternative(each) for each in segment.alternatives]
    return {**facts, **_listed(segment.words)} if words else facts


def _alternative(alternative: Alternative) -> dict[str, object]:
    match = meaning(alternative.match) if alternative.match else {}
    return {"text": alternative.text, "score": round(alternative.score, 2), **match}


def _listed(words: Iterable[Word]) -> dict[str, object]:
    return {"words": [{**_span(word), "text": word.text} for word in words]}


def _span(span: Segment | Word) -> dict[str, object]:
    return {
        "start": round(span.start, 3),
        "end": round(span.end, 3),
        "confidence": round(span.confidence, 3),
    }
