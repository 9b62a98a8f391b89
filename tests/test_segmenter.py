"""Where segments end, what stays of a hypothesis, and that no cut of the stream matters."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.decoding.graph import Graph
from asr.decoding.greedy import GreedySearch
from asr.decoding.search import GraphSearch, SearchOptions
from asr.endpoint import Endpointer, EndpointRules
from asr.errors import UsageError
from asr.results import Final, Partial, SpeechEnd, SpeechStart
from asr.segmenter import LOOK, Segmenter
from asr.task import Task
from tests.decoding import world
from tests.decoding.world import noise, small_graph

FRAME = 0.04
TOKENS = ("<blk>", "a", "b", "c")


def frames(text: str) -> np.ndarray:
    """Log-probabilities that say each letter for a frame, and blank for each dot."""
    probabilities = np.full((len(text), len(TOKENS)), 0.02, np.float32)
    best = [0 if letter == "." else TOKENS.index(letter) for letter in text]
    probabilities[np.arange(len(text)), best] = 0.94
    return np.log(probabilities)


def segmenter(**rules) -> Segmenter:
    return Segmenter(Task(GreedySearch(TOKENS)), Endpointer(EndpointRules(**rules), FRAME))


def run(stage, pieces):
    events, state = [], None
    for piece in pieces:
        more, state = stage.step(piece, state)
        events.append(more)
    return [*events, stage.flush(state)]


def finals(events):
    return [event.segment for step in events for event in step if isinstance(event, Final)]


def texts(events):
    return [segment.text for segment in finals(events)]


def test_silence_ends_a_segment_and_the_next_loses_nothing():
    stage = segmenter(silence=0.4)
    events = run(stage, [frames("..a.b.........." + "b.c......" + "....c")])
    assert texts(events) == ["a b", "b c", "c"]


def test_the_same_word_again_is_heard_again():
    assert texts(run(segmenter(silence=0.2), [frames("a.....a.....a")])) == ["a", "a", "a"]


def test_silence_without_speech_reports_nothing_and_keeps_the_time():
    stage = segmenter(silence=0.4, silence_before_speech=1.0)
    events = run(stage, [frames("." * 500 + "a")])
    assert [type(event) for step in events for event in step] == [
        SpeechStart,
        Partial,
        Final,
        SpeechEnd,
    ]
    assert finals(events)[0].words[0].start == pytest.approx(500 * FRAME)


def test_a_segment_is_cut_at_its_longest_and_no_word_is_lost_or_doubled():
    spoken = "a.b.c." * 100
    events = run(segmenter(longest=2.0), [frames(spoken)])
    assert " ".join(texts(events)) == " ".join(spoken.replace(".", ""))
    assert len(finals(events)) > 10
    assert all(segment.end - segment.start <= 2.0 for segment in finals(events))
    words = [word for segment in finals(events) for word in segment.words]
    starts = [2 * FRAME * number for number in range(len(words))]
    assert [word.start for word in words] == pytest.approx(starts)


def test_partials_grow_and_their_stable_part_stays():
    spoken = "a.b.c" + "." * (LOOK - 1) + "a.b"
    events = run(segmenter(silence=9), [frames(letter) for letter in spoken])
    partials = [event for step in events for event in step if isinstance(event, Partial)]
    assert partials[0] == Partial("a", "", FRAME)
    assert partials[-1].text == "a b c a b"
    assert partials[-1].stable == "a b c"
    for earlier, later in itertools.pairwise(partials):
        assert later.stable.startswith(earlier.stable)
        assert later.time > earlier.time


@given(
    st.text("abc.......", max_size=300),
    st.lists(st.integers(0, 40), max_size=20),
    st.sampled_from([0.08, 0.4, math.inf]),
    st.sampled_from([0.5, 2.0, math.inf]),
)
def test_any_cut_gives_the_same_finals(text, cuts, silence, longest):
    log_probs = frames(text)
    pieces = np.split(log_probs, np.minimum(np.cumsum(cuts, dtype=int), len(log_probs)))
    stage = segmenter(silence=silence, longest=longest)
    whole = finals(run(stage, [log_probs]))
    assert finals(run(stage, pieces)) == whole
    assert sum(len(segment.words) for segment in whole) >= len(
        [a for a, b in zip(text, "." + text, strict=False) if a != b and a != "."]
    )


def hearing(**rules) -> Segmenter:
    search = GraphSearch(Graph.of(small_graph()), SearchOptions(beam=15))
    return Segmenter(Task(search), Endpointer(EndpointRules(**rules), FRAME))


def test_a_segment_goes_on_with_the_sentence_before_a_pause():
    """What sounds the same is told apart by the word before; after a longer pause it is not."""
    stage, pause = hearing(silence=0.4, silence_before_speech=1.0), "- " * 12
    reed = world.frames("R IY D")

    def said(before: str, between: str) -> str:
        return texts(run(stage, [np.concatenate([world.frames(before + between), reed])]))[-1]

    assert said("- AH ", pause) == "reed"
    assert said("- B AH S ", pause) == "read"
    assert said("- AH ", 5 * pause) == said("- B AH S ", 5 * pause)
    _, state = stage.step(world.frames("- AH " + pause))
    assert stage.flush(state) == []
    assert texts(run(stage, [reed])) == [said("- AH ", 5 * pause)]


def test_a_segment_goes_on_where_the_longest_was_cut():
    words = world.frames("- AH - R IY D - - - -")
    whole = texts(run(hearing(silence=9), [np.concatenate([words] * 20)]))
    cut = texts(run(hearing(silence=9, longest=1.0), [np.concatenate([words] * 20)]))
    assert len(cut) > 10
    assert " ".join(cut) == whole[0]


@given(st.integers(0, 10_000), st.integers(1, 300), st.lists(st.integers(0, 40), max_size=20))
def test_any_cut_gives_the_same_words_of_a_graph(seed, count, cuts):
    stage, log_probs = hearing(silence=0.2, longest=4.0), noise(count, seed)
    whole = finals(run(stage, [log_probs]))
    events, state = [], None
    for piece in np.split(log_probs, np.minimum(np.cumsum(cuts, dtype=int), count)):
        more, state = stage.step(piece, state)
        events.append(more)
        heard = state.search.log_probs if state.search else log_probs[:0]
        state = stage.resumed(heard, replace(state, search=None, texts=(), stable=0))
    assert finals([*events, stage.flush(state)]) == whole


@given(st.integers(0, 10_000), st.integers(30, 300), st.integers(1, 40), st.sampled_from([5, 100]))
def test_stable_words_stand_whatever_the_search_hears_later(seed, count, size, beam):
    search = GraphSearch(Graph.of(small_graph()), SearchOptions(beam=beam))
    stage = Segmenter(Task(search), Endpointer(EndpointRules(silence=0.4, longest=8.0), FRAME))
    log_probs = noise(count, seed)
    stable = ""
    for step in run(stage, [log_probs[i : i + size] for i in range(0, count, size)]):
        for event in step:
            if isinstance(event, Partial):
                assert event.text.startswith(event.stable)
                assert event.stable.startswith(stable)
                stable = event.stable
            elif isinstance(event, Final):
                assert event.segment.text.startswith(stable)
                stable = ""


def test_a_word_is_stable_as_soon_as_nothing_else_can_be():
    narrow = GraphSearch(Graph.of(small_graph()), SearchOptions(beam=3.0))
    stage = Segmenter(Task(narrow), Endpointer(EndpointRules(silence=9), FRAME))
    _, state = stage.step(world.frames("- B AH S - - R EH"))
    assert (state.texts[0], state.stable) == ("bus", 1)


@pytest.mark.parametrize("seconds", [0, -1, math.nan])
@pytest.mark.parametrize("rule", ["silence", "silence_before_speech", "longest"])
def test_rules_without_a_duration_are_refused(rule, seconds):
    with pytest.raises(UsageError, match=rule):
        EndpointRules(**{rule: seconds})
