"""The language model of the model that ships: it hears better, and what it has said stays."""

from pathlib import Path

import numpy as np
import pytest

import asr
from asr.decoding.phrases import Phrase
from asr.errors import GraphError, ModelError, UsageError
from asr.evaluation.scoring import score
from tests.cli.command import run
from tests.decoding.world import small_graph
from tests.speech import ROOT, utterances
from tests.test_recognizer import RATE, events, finals, text

MODEL = ROOT / "models" / "en-base"


@pytest.fixture(scope="module")
def recognizer() -> asr.Recognizer:
    return asr.load(MODEL)


@pytest.fixture(scope="module")
def plain() -> asr.Recognizer:
    return asr.load(MODEL, language_model=False)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """A reader, for long enough that words are settled before the end."""
    return utterances("dev", count=1, source="librispeech")[0].samples


def test_fewer_words_are_wrong(recognizer, plain):
    errors = np.zeros(2)
    for utterance in utterances("dev", count=12, source="librispeech"):
        for place, one in enumerate((plain, recognizer)):
            heard = text(events(one.stream(), utterance.samples))
            errors[place] += score(utterance.text, heard).words.total
    assert errors[1] < 0.95 * errors[0]


@pytest.mark.parametrize("size", [801, 2560, 16_000])
def test_any_cut_gives_the_same_words(recognizer, speech, size):
    whole = events(recognizer.stream(), speech, size=len(speech))
    assert text(events(recognizer.stream(), speech, size=size)) == text(whole)


def test_what_is_stable_is_final(recognizer):
    settled = 0
    for utterance in utterances("dev", count=4, source="librispeech"):
        stable: list[str] = []
        for event in events(recognizer.stream(), utterance.samples):
            if isinstance(event, asr.Partial):
                assert event.text.startswith(event.stable)
                now = event.stable.split()
                assert now[: len(stable)] == stable
                stable = now
            elif isinstance(event, asr.Final):
                assert event.segment.text.split()[: len(stable)] == stable
                settled += len(stable)
                stable = []
    assert settled > 20


def test_a_stream_is_taken_up_in_the_middle(recognizer, speech):
    whole = text(events(recognizer.stream(), speech))
    stream = recognizer.stream()
    middle = len(speech) // 2
    heard = stream.push(speech[:middle], RATE)
    again = recognizer.restore(stream.snapshot())
    heard += [*again.push(speech[middle:], RATE), *again.flush()]
    assert text(heard) == whole


def test_alternatives_are_in_the_order_of_both_models(recognizer, speech):
    segment = finals(events(recognizer.stream(nbest=5), speech))[0]
    assert len(segment.alternatives) == 5
    assert segment.alternatives[0].text == segment.text
    scores = [alternative.score for alternative in segment.alternatives]
    assert scores[0] == 0
    assert scores == sorted(scores, reverse=True)


def test_as_many_alternatives_as_there_may_be(recognizer, speech):
    segment = finals(events(recognizer.stream(nbest=100), speech))[0]
    assert len(segment.alternatives) > 50


def test_phrases_and_grammars_go_with_it(recognizer, speech):
    heard = text(events(recognizer.stream(phrases=[Phrase("mildenhurst")]), speech))
    assert len(heard.split()) > 10
    grammar = recognizer.word_list(["yes", "no"])
    heard = events(recognizer.stream(grammar=grammar), speech)
    assert not finals(heard)


def test_it_is_not_used_with_another_graph_unless_it_is_named():
    graph = MODEL / "dictation.graph"
    assert asr.load(MODEL, graph=graph).language_model is None
    named = asr.load(MODEL, graph=graph, language_model=MODEL / "language.onnx")
    assert named.language_model is not None


def test_another_model_can_have_it(speech, tmp_path):
    np.save(tmp_path / "speech.npy", speech)
    small = asr.load(ROOT / "models" / "en-small", language_model=MODEL / "language.onnx")
    assert small.language_model is not None
    assert len(text(events(small.stream(), speech)).split()) > 10


def test_a_stream_can_have_it_or_another_graph(speech, tmp_path: Path):
    small = asr.load(ROOT / "models" / "en-small")
    given = asr.load(ROOT / "models" / "en-small", language_model=MODEL / "language.onnx")
    assert text(events(small.stream(lm=MODEL / "language.onnx"), speech)) == text(
        events(given.stream(), speech)
    )
    small_graph().save(tmp_path / "small.graph")
    other = small.with_lm(tmp_path / "small.graph")
    stream = small.stream(lm=tmp_path / "small.graph")
    stream.push(speech, 16_000)
    restored = other.restore(stream.snapshot())
    assert text(restored.flush()) == text(stream.flush())
    with pytest.raises(GraphError, match="the graph that was begun with"):
        small.restore(other.stream().snapshot())
    bare = asr.load(ROOT / "models" / "en-small", graph=None)
    with pytest.raises(UsageError, match="load the model with one"):
        bare.stream(lm=MODEL / "language.onnx")


def test_a_file_that_is_none(tmp_path: Path):
    with pytest.raises(ModelError, match="cannot read the language model"):
        asr.load(MODEL, language_model=tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="language model"):
        asr.load(MODEL, language_model=MODEL / "model.int8.onnx")


def test_on_the_command_line(tmp_path: Path):
    clip = ROOT / "asr" / "cli" / "demo.flac"
    done = run("transcribe", clip, "--lm", MODEL / "language.onnx")
    assert done.returncode == 0, done.stderr
    assert "the old man opened the door" in done.stdout
    done = run("transcribe", clip, "--lm", tmp_path / "none.onnx")
    assert done.returncode == 1
    assert "cannot read the language model" in done.stderr
