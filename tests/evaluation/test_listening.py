"""A clip with known words, streamed and aligned by the model that ships."""

import itertools
from pathlib import Path

import numpy as np
import pytest

import asr
from asr.acoustic import AcousticModel
from asr.bundle import Bundle
from asr.cli.recognizers import model_folder
from asr.decoding.lexicon import Lexicon
from asr.errors import ModelError
from asr.evaluation.alignment import Aligner, pronunciations
from asr.evaluation.listening import hear
from asr.evaluation.timing import emission_times
from tests.cli.command import SAID, assert_heard, sentence
from tests.models import export_tiny


@pytest.fixture(scope="module")
def recognizer() -> asr.Recognizer:
    return asr.load(model_folder(None))


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return pronunciations(SAID)


def test_silence_behind_an_utterance_ends_it_and_changes_no_word(
    recognizer: asr.Recognizer,
) -> None:
    samples = sentence(0)
    stream = recognizer.stream()
    events = [*stream.push(samples, 16_000), *stream.flush()]
    heard = hear(recognizer, samples, 0.16)
    assert heard.text == " ".join(e.segment.text for e in events if isinstance(e, asr.Final))
    assert heard.ended is not None
    assert heard.ended > heard.words[-1].end + asr.EndpointRules().silence


def test_the_screen_is_followed_from_the_first_word_to_the_last(
    recognizer: asr.Recognizer,
) -> None:
    heard = hear(recognizer, np.concatenate([sentence(0), sentence(1)]), 0.16)
    times = [display.time for display in heard.displays]
    assert times == sorted(set(times))
    assert all(round(time * 100) % 16 == 0 for time in times)
    assert heard.displays[-1].words == tuple(word.text for word in heard.words)
    assert heard.displays[0].time < 2 < heard.displays[-1].time
    assert_heard(heard.text, f"{SAID[0]} {SAID[1]}", 0.7)


def test_smaller_chunks_show_words_earlier(recognizer: asr.Recognizer) -> None:
    emitted = {}
    for chunk in (0.04, 0.64):
        heard = hear(recognizer, sentence(0), chunk)
        times = emission_times(heard)
        emitted[chunk] = [time - word.end for time, word in zip(times, heard.words, strict=True)]
    assert np.median(emitted[0.04]) < np.median(emitted[0.64]) - 0.1


def test_words_lie_where_they_are_said(recognizer: asr.Recognizer, lexicon: Lexicon) -> None:
    aligner = Aligner(recognizer.acoustic, lexicon)
    pause = np.zeros(16_000, np.float32)
    samples = np.concatenate([pause, sentence(0), pause, sentence(1)])
    spans = aligner.spans(samples, f"{SAID[0]} {SAID[1]}")
    assert spans is not None and len(spans) == len(SAID[0].split()) + len(SAID[1].split())
    assert all(a.start < a.end <= b.start for a, b in itertools.pairwise(spans))
    first, last = spans[: len(SAID[0].split())], spans[len(SAID[0].split()) :]
    loud = np.flatnonzero(np.abs(samples) > 0.02) / 16_000
    assert abs(first[0].start - loud[0]) < 0.2 and abs(last[-1].end - loud[-1]) < 0.3
    second = 1 + len(sentence(0)) / 16_000 + 1
    assert first[-1].end < second < last[0].start


def test_what_cannot_be_aligned_is_left_out(recognizer: asr.Recognizer, lexicon: Lexicon) -> None:
    aligner = Aligner(recognizer.acoustic, lexicon)
    assert aligner.spans(sentence(0), "the 3rd sun") is None
    assert aligner.spans(sentence(0), "") is None
    assert aligner.spans(sentence(0)[:8_000], SAID[0]) is None


def test_a_model_without_phones_cannot_align(tmp_path: Path, lexicon: Lexicon) -> None:
    folder = export_tiny(tmp_path / "tiny")
    acoustic = AcousticModel(Bundle.open(folder))
    object.__setattr__(acoustic.bundle, "tokens", ("<blk>", *"abcdefghijklmnopqrstuvwxyz'"))
    with pytest.raises(ModelError, match="--aligner"):
        Aligner(acoustic, lexicon)
