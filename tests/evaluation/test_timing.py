"""Delays and flicker of streams whose screens are known."""

import math

import pytest

from asr.evaluation.alignment import Span
from asr.evaluation.listening import Display, Hearing
from asr.evaluation.scoring import score
from asr.evaluation.timing import Timing, emission_times, flicker, spread
from asr.results import Word

SAID = "we saw it"
SPANS = (Span(0.5, 0.7), Span(0.8, 1.1), Span(1.2, 1.3))


def hearing(*screens: tuple[float, str], settled: int = 0, ended: float | None = 2.5) -> Hearing:
    """A stream that shows these texts; the last of them is the final."""
    words = [
        Word(text, 0.5 + number, 0.9 + number, 0.5)
        for number, text in enumerate(screens[-1][1].split())
    ]
    displays = [Display(time, tuple(text.split()), settled) for time, text in screens]
    return Hearing(tuple(words), tuple(displays), ended)


def test_a_word_is_emitted_when_it_stays() -> None:
    heard = hearing((0.8, "we"), (1.0, "he so"), (1.2, "we saw"), (1.6, "we saw it"))
    assert emission_times(heard) == [1.2, 1.2, 1.6]
    assert flicker(heard) == (2, 6)  # he and so; we is shown twice


def test_delays_are_counted_from_the_alignment() -> None:
    heard = hearing((0.9, "we"), (1.6, "we saw it"))
    timing = Timing.of(heard, score(SAID, heard.text).edits, SPANS)
    assert timing.emission == pytest.approx([0.2, 0.5, 0.3])
    assert timing.first == pytest.approx([0.4])
    assert timing.final == pytest.approx([1.2])
    assert timing.starts == pytest.approx([0.0, 0.7, 1.3])
    assert timing.ends == pytest.approx([0.2, 0.8, 1.6])


def test_only_correct_words_have_a_delay() -> None:
    heard = hearing((1.0, "we sore"), (1.6, "we sore it"))
    timing = Timing.of(heard, score(SAID, heard.text).edits, SPANS)
    assert timing.emission == pytest.approx([0.3, 0.3])


def test_what_a_final_changes_is_no_flicker_of_a_partial() -> None:
    shown = Display(1.0, ("he",), 0)
    final = Display(2.5, ("we", "saw"), 2)
    words = (Word("we", 0.5, 0.7, 1.0), Word("saw", 0.8, 1.1, 1.0))
    assert flicker(Hearing(words, (shown, final), 2.5)) == (1, 1)


def test_what_cannot_be_told_is_counted() -> None:
    heard = hearing((1.0, "we"), ended=None)
    edits = score(SAID, heard.text).edits
    timing = Timing.all([Timing.of(heard, edits, None), Timing.of(heard, edits, SPANS)])
    assert (timing.unaligned, timing.unended, timing.final) == (1, 2, [])
    assert (timing.shown, timing.changed, timing.flicker) == (2, 0, 0.0)


def test_nothing_heard_has_no_times() -> None:
    timing = Timing.of(Hearing((), (), None), score(SAID, "").edits, SPANS)
    assert (timing.emission, timing.first, timing.unended) == ([], [], 0)
    assert math.isnan(timing.flicker) and all(map(math.isnan, spread(timing.emission)))
