"""Grammars on the model that ships: what fits them is understood, what does not is rejected."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asr
from asr.decoding.grammar import Grammar
from asr.errors import UsageError
from tests.cli.command import SAID, clip, sentence
from tests.speech import ROOT

RATE = 16_000
TEA = """\
#JSGF V1.0;
grammar tea;
public <order> = i would like <what> (and <what>)*;
public <thanks> = thank you [very much] {polite} [for listening];
<what> = a cup of (tea {drink=tea} | coffee {drink=coffee}) | a piece of (bread | cake) {bread};
"""


@pytest.fixture(scope="module")
def recognizer() -> asr.Recognizer:
    return asr.load(ROOT / "models" / "en-small")


@pytest.fixture(scope="module")
def tea(recognizer: asr.Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Grammar:
    path = tmp_path_factory.mktemp("grammars") / "tea.jsgf"
    path.write_text(TEA)
    return recognizer.grammar(path)


def events(stream: asr.Stream, samples: np.ndarray, size: int = 2560) -> list[asr.Event]:
    heard: list[asr.Event] = []
    for begin in range(0, len(samples), size):
        heard += stream.push(samples[begin : begin + size], RATE)
    return heard + stream.flush()


def results(heard: list[asr.Event]) -> list[asr.Event]:
    return [event for event in heard if isinstance(event, asr.Final | asr.Rejected)]


def texts(heard: list[asr.Event]) -> list[str]:
    return [
        event.segment.text if isinstance(event, asr.Final) else "rejected"
        for event in results(heard)
    ]


def test_what_is_said_is_understood(recognizer, tea):
    (order,) = results(events(recognizer.stream(grammar=tea), sentence(2)))
    assert order.segment.text == SAID[2]
    match = order.segment.match
    assert (match.rule, match.intent, match.slots, match.tags) == (
        "order",
        "order",
        {"drink": "tea"},
        ("bread",),
    )
    assert match.words == tuple(word.text for word in order.segment.words)
    assert order.segment.confidence > 0.9


def test_what_does_not_fit_is_rejected_in_its_place(recognizer, tea):
    heard = events(recognizer.stream(grammar=tea), clip())
    assert texts(heard) == ["rejected", "rejected", SAID[2], SAID[3]]
    kinds = [type(event) for event in heard if not isinstance(event, asr.Partial)]
    between = [asr.SpeechStart, asr.Rejected, asr.SpeechEnd]
    assert kinds == 2 * between + 2 * [asr.SpeechStart, asr.Final, asr.SpeechEnd]
    assert all(event.segment.confidence < 0.1 for event in results(heard)[:2])


def test_half_a_sentence_is_shown_and_then_rejected(recognizer, tea):
    heard = events(recognizer.stream(grammar=tea), sentence(2)[: int(1.4 * RATE)])
    partials = [event.text for event in heard if isinstance(event, asr.Partial)]
    assert partials[-1].startswith("i would like")
    (rejected,) = results(heard)
    assert isinstance(rejected, asr.Rejected)
    assert rejected.segment.match is None
    assert rejected.segment.text.startswith("i would like")


@settings(max_examples=8)
@given(sizes=st.lists(st.integers(0, 60_000), min_size=1, max_size=12))
def test_any_cut_equals_the_whole(recognizer, tea, sizes):
    samples = clip()
    whole = recognizer.stream(grammar=tea)
    expected = texts(whole.push(samples, RATE) + whole.flush())
    stream = recognizer.stream(grammar=tea)
    heard: list[asr.Event] = []
    for piece in np.split(samples, np.minimum(np.cumsum(sizes), len(samples))):
        heard += stream.push(piece, RATE)
    assert texts(heard + stream.flush()) == expected


def test_another_grammar_counts_at_once_if_nothing_was_said(recognizer, tea):
    stream = recognizer.stream()
    stream.push(np.zeros(RATE // 2, np.float32), RATE)
    stream.use(grammar=tea)
    (final,) = results(events(stream, sentence(2)))
    assert final.segment.match.slots == {"drink": "tea"}


def test_another_grammar_counts_from_the_next_segment_on(recognizer, tea):
    stream = recognizer.stream(grammar=tea)
    first, second = sentence(2), sentence(3)
    half = len(first) // 2
    heard = stream.push(first[:half], RATE)
    stream.use(grammar=recognizer.word_list(["yes", "no"]))
    pause = np.zeros(2 * RATE, np.float32)
    heard += events(stream, np.concatenate([first[half:], pause, second]))
    assert texts(heard) == [SAID[2], "rejected"]
    stream.use()
    assert results(events(stream, second))[0].segment.match is None


@settings(max_examples=6)
@given(share=st.floats(0, 1))
def test_a_restored_stream_goes_on_with_its_grammars(recognizer, tea, share):
    samples = clip()[11 * RATE :]
    answers = recognizer.word_list(["yes", "no"])
    cut = int(share * len(samples)) // 2560 * 2560

    def begun() -> tuple[asr.Stream, list[asr.Event]]:
        stream = recognizer.stream(grammar=tea)
        heard = events_of(stream, samples[:cut])
        stream.use(grammar=answers)
        return stream, heard

    def events_of(stream: asr.Stream, piece: np.ndarray) -> list[asr.Event]:
        return [
            event
            for begin in range(0, len(piece), 2560)
            for event in stream.push(piece[begin : begin + 2560], RATE)
        ]

    stream, heard = begun()
    uninterrupted = heard + events(stream, samples[cut:])
    stream, heard = begun()
    stream = recognizer.restore(stream.snapshot(), [answers, tea])
    assert heard + events(stream, samples[cut:]) == uninterrupted


def test_a_snapshot_wants_its_own_grammar(recognizer, tea):
    snapshot = recognizer.stream(grammar=tea).snapshot()
    with pytest.raises(UsageError, match="grammar 'tea'"):
        recognizer.restore(snapshot)
    with pytest.raises(UsageError, match="grammar 'tea'"):
        recognizer.restore(snapshot, [recognizer.word_list(["tea"])])


def test_alternatives_come_best_first_with_what_they_mean(recognizer, tmp_path):
    (tmp_path / "thanks.jsgf").write_text(
        "#JSGF V1.0; grammar thanks; public <thanks> = thank you very much for <what>;"
        "<what> = listening {heard} | listing {shown} | living {hello};"
    )
    thanks = recognizer.grammar(tmp_path / "thanks.jsgf")
    (final,) = results(events(recognizer.stream(grammar=thanks, nbest=2), sentence(3)))
    first, second = final.segment.alternatives
    assert (first.text, first.score) == (final.segment.text, 0) == (SAID[3], 0)
    assert first.match == final.segment.match
    assert second.text == "thank you very much for listing"
    assert second.score < 0
    assert second.match.tags == ("shown",)


def test_a_grammar_needs_no_graph():
    recognizer = asr.load(ROOT / "models" / "en-small", graph=None)
    listed = recognizer.word_list(["thank you very much for listening", "stop"])
    assert texts(events(recognizer.stream(grammar=listed), sentence(3))) == [SAID[3]]
    with pytest.raises(UsageError, match="need a graph"):
        recognizer.stream(nbest=2)


def test_numbers_of_alternatives_that_cannot_be_are_refused(recognizer):
    for number in (0, 101):
        with pytest.raises(UsageError, match="nbest"):
            recognizer.stream(nbest=number)
