"""Transcripts in every format, to the letter."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.results import Final, Partial, Rejected, Segment, SpeechEnd, SpeechStart, Word
from asr.writers import LINE, LINES, LONGEST, WRITERS, Transcript, clock, event_json


def segment(start: float, *words: str) -> Segment:
    """A segment of words that take 0.4 s each and follow each other by 0.5 s."""
    timed = tuple(
        Word(word, start + 0.5 * n, start + 0.5 * n + 0.4, 0.875) for n, word in enumerate(words)
    )
    return Segment(" ".join(words), start, timed[-1].end, 0.75, timed)


TALK = [segment(0.48, "rock", "&", "roll"), segment(3723.6, "bye")]


def written(suffix: str, segments: list[Segment], *, words: bool = False) -> str:
    return "".join(WRITERS[suffix](words=words).pieces(Transcript("my talk", segments)))


def test_txt() -> None:
    assert written("txt", TALK) == "rock & roll\nbye\n"


def test_srt() -> None:
    assert written("srt", TALK) == (
        "1\n00:00:00,480 --> 00:00:01,880\nrock & roll\n\n2\n01:02:03,600 --> 01:02:04,600\nbye\n\n"
    )


def test_vtt() -> None:
    assert written("vtt", TALK) == (
        "WEBVTT\n\n"
        "00:00:00.480 --> 00:00:01.880\nrock &amp; roll\n\n"
        "01:02:03.600 --> 01:02:04.600\nbye\n\n"
    )


def test_vtt_with_words() -> None:
    assert written("vtt", TALK[:1], words=True) == (
        "WEBVTT\n\n00:00:00.480 --> 00:00:01.880\nrock <00:00:00.980>&amp; <00:00:01.480>roll\n\n"
    )


def test_tsv() -> None:
    assert written("tsv", TALK) == (
        "start\tend\ttext\n480\t1880\trock & roll\n3723600\t3724000\tbye\n"
    )


def test_tsv_with_words() -> None:
    assert written("tsv", TALK[:1], words=True) == (
        "start\tend\ttext\n480\t880\trock\n980\t1380\t&\n1480\t1880\troll\n"
    )


def test_json() -> None:
    assert json.loads(written("json", TALK)) == {
        "name": "my talk",
        "text": "rock & roll bye",
        "segments": [
            {"start": 0.48, "end": 1.88, "confidence": 0.75, "text": "rock & roll"},
            {"start": 3723.6, "end": 3724.0, "confidence": 0.75, "text": "bye"},
        ],
    }


def test_json_with_words() -> None:
    (first,) = json.loads(written("json", TALK[1:], words=True))["segments"]
    assert first["words"] == [{"start": 3723.6, "end": 3724.0, "confidence": 0.875, "text": "bye"}]


def test_ctm() -> None:
    assert written("ctm", TALK) == (
        "my_talk 1 0.48 0.40 rock 0.88\nmy_talk 1 0.98 0.40 & 0.88\n"
        "my_talk 1 1.48 0.40 roll 0.88\nmy_talk 1 3723.60 0.40 bye 0.88\n"
    )


@pytest.mark.parametrize(
    ("suffix", "text"),
    [("txt", ""), ("srt", ""), ("vtt", "WEBVTT\n\n"), ("tsv", "start\tend\ttext\n"), ("ctm", "")],
)
def test_silence(suffix: str, text: str) -> None:
    assert written(suffix, []) == text


def test_a_segment_is_written_before_the_next_one_is_there() -> None:
    def talking():
        yield TALK[0]
        raise AssertionError("asked for the next segment too early")

    assert next(WRITERS["txt"]().pieces(Transcript("live", talking()))) == "rock & roll\n"


def test_a_long_segment_becomes_several_subtitles_of_two_lines() -> None:
    (first, second) = re.findall(r"--> .*\n((?:.+\n)+)", written("srt", [segment(0, *"a" * 20)]))
    assert (first, second) == (" ".join("a" * 14) + "\n", " ".join("a" * 6) + "\n")


texts = st.lists(st.text("abcdefghi", min_size=1, max_size=20), min_size=1, max_size=60)


@given(texts)
def test_subtitles_keep_every_word_and_stay_readable(words: list[str]) -> None:
    blocks = written("srt", [segment(1, *words), segment(100, *words)]).strip().split("\n\n")
    said, before = [], ""
    for number, block in enumerate(blocks, start=1):
        head, times, *lines = block.split("\n")
        start, end = times.split(" --> ")
        assert head == str(number) and before <= start < end
        assert 1 <= len(lines) <= LINES and max(map(len, lines)) <= LINE
        assert seconds(end) - seconds(start) <= LONGEST
        said += " ".join(lines).split()
        before = end
    assert said == words * 2


def seconds(time: str) -> float:
    hours, minutes, rest = time.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


@given(st.floats(0, 1e6))
def test_a_clock_tells_the_time_to_the_millisecond(time: float) -> None:
    assert seconds(clock(time, ",")) == pytest.approx(time, abs=0.00051)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (SpeechStart(0.1 + 0.2), '{"type": "speech_start", "time": 0.3}'),
        (
            Partial("it is", "it", 1.2),
            '{"type": "partial", "text": "it is", "stable": "it", "time": 1.2}',
        ),
        (
            Final(TALK[1]),
            '{"type": "final", "start": 3723.6, "end": 3724.0, "confidence": 0.75, "text": "bye", '
            '"words": [{"start": 3723.6, "end": 3724.0, "confidence": 0.875, "text": "bye"}]}',
        ),
        (SpeechEnd(2.0), '{"type": "speech_end", "time": 2.0}'),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_event_is_a_line_of_json(event, line: str) -> None:
    assert event_json(event) == line


def test_what_was_rejected_is_no_text():
    no = Segment("turn on", 1.0, 2.0, 0.1, (Word("turn", 1.0, 1.5, 0.5), Word("on", 1.6, 2.0, 0.5)))
    for suffix in WRITERS:
        assert "turn" not in written(suffix, [Rejected(no)])
    assert written("txt", [Rejected(no)]) == "[rejected]\n"
    assert json.loads(event_json(Rejected(no))) == {
        "type": "rejected",
        "start": 1.0,
        "end": 2.0,
        "confidence": 0.1,
    }
