"""Words, their times and confidences, from frames that come in any pieces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.decoding.graph import Graph
from asr.decoding.passing import labelled
from asr.decoding.reading import word_ends
from asr.decoding.search import GraphSearch, SearchOptions
from asr.errors import GraphError, UsageError
from tests.decoding.world import frames, noise

pytestmark = pytest.mark.usefixtures("implementation")


@pytest.fixture(scope="module")
def search(graph: Graph) -> GraphSearch:
    return GraphSearch(graph, SearchOptions(beam=30.0, acoustic_scale=1.0))


def recognised(search: GraphSearch, log_probs: np.ndarray) -> str:
    _, state = search.step(log_probs)
    return " ".join(word.text for word in search.finish(state))


def test_words_with_their_frames(search):
    texts, state = search.step(frames("- - B B AH S - - - S T T AA - P - - - -"))
    words = search.words(state)
    assert texts == ("bus", "stop")
    assert [(w.text, w.start, w.end) for w in words] == [("bus", 2, 6), ("stop", 9, 15)]
    assert search.finish(state) == words


def test_confidence_is_the_mean_posterior_of_the_tokens(search):
    sure, unsure = frames("- B AH S -", 0.9), frames("- T AA P -", 0.5)
    words = search.words(search.step(np.concatenate([sure, unsure]))[1])
    assert [word.text for word in words] == ["bus", "top"]
    assert words[0].confidence == pytest.approx(0.9, abs=1e-4)
    assert words[1].confidence == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("sound", ["AH", "EY"])
def test_every_pronunciation_counts(search, sound):
    assert recognised(search, frames(f"- {sound} - R EH D -")) == "a red"


def test_grammar_tells_homophones_apart(search):
    assert recognised(search, frames("- AH - R EH D -")) == "a red"
    assert recognised(search, frames("- AH - R IY D -")) == "a reed"
    assert recognised(search, frames("- B AH S - R IY D -")) == "bus read"
    assert recognised(search, frames("- AH - T IY -")) == "a tee"


@pytest.mark.parametrize(
    ("before", "said", "after"),
    [
        ("AH", "R IY D", "reed"),  # reed where a stands before, read where bus does
        ("B AH S", "R IY D", "read"),
        ("AH - R IY D", "T IY P AA T", "teapot"),
    ],
)
def test_what_follows_goes_on_from_the_words_before(search, before, said, after):
    _, state = search.step(frames(f"- {before} -"))
    place = search.behind(state, len(search.finish(state)))
    texts, _ = search.step(frames(f"- {said} -"), search.start(place))
    assert texts == (after,)


def test_words_before_the_last_can_be_gone_on_from(search):
    _, state = search.step(frames("- AH - R IY D - T IY -"))
    texts, _ = search.step(frames("- R IY D -"), search.start(search.behind(state, 1)))
    assert texts == ("reed",)


def test_the_words_before_may_have_ended(search):
    """To end after "a" costs less than to say "stop" after it."""
    _, state = search.step(frames("- AH -"))
    place = search.behind(state, 1)
    anew, goes_on = (search.step(frames("- S T AA P -"), search.start(p))[1] for p in (None, place))
    assert search.finish(goes_on) == search.finish(anew)


def test_a_word_that_is_not_over_leads_nowhere(search):
    _, state = search.step(frames("- AH - T IY P AA"))
    assert search.behind(state, 2) is None
    assert search.behind(search.step(frames("- - -"))[1], 0) is None


@pytest.mark.parametrize("place", [-1, 10**6])
def test_a_state_of_another_graph_is_refused(search, place):
    with pytest.raises(GraphError, match="the graph that was begun with"):
        search.start(place)


def test_word_in_progress_has_the_frames_so_far(search):
    _, state = search.step(frames("- AH T IY P AA"))
    assert [(w.text, w.start, w.end) for w in search.words(state)[-1:]] == [("teapot", 2, 6)]
    _, state = search.step(frames("T -"), state)
    assert [(w.text, w.start, w.end) for w in search.words(state)[-1:]] == [("teapot", 2, 7)]


def test_nothing_heard(search):
    texts, state = search.step(frames("")[:0])
    assert texts == search.words(state) == search.finish(state) == ()


def test_silence(search):
    texts, state = search.step(frames("- " * 50))
    assert texts == search.words(state) == search.finish(state) == ()


@given(
    count=st.integers(0, 60),
    seed=st.integers(0, 10_000),
    cuts=st.lists(st.integers(0, 60), max_size=10),
)
def test_any_cut_gives_the_same(search, count, seed, cuts):
    log_probs = noise(count, seed)
    whole, whole_state = search.step(log_probs)
    state = None
    for part in np.split(log_probs, sorted(min(cut, count) for cut in cuts)):
        texts, state = search.step(part, state)
    assert texts == whole
    assert search.words(state) == search.words(whole_state)
    assert search.finish(state) == search.finish(whole_state)
    assert np.array_equal(state.log_probs, log_probs)


@given(seed=st.integers(0, 10_000), count=st.integers(1, 40))
def test_words_are_in_order_and_within_the_frames(search, seed, count):
    _, state = search.step(noise(count, seed))
    hypothesis = search.finish(state)
    edges = [edge for word in hypothesis for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert all(0 <= word.start < word.end <= count for word in hypothesis)
    assert all(0 <= word.confidence <= 1 for word in hypothesis)


@given(seed=st.integers(0, 10_000), size=st.integers(1, 9), count=st.integers(1, 60))
def test_the_words_so_far_are_those_of_the_path(search, seed, size, count):
    log_probs, state = noise(count, seed), None
    for begin in range(0, count, size):
        texts, state = search.step(log_probs[begin : begin + size], state)
        assert state.given == labelled(search.graph.words(state.history.arc[state.path]))
        words = search.words(state)
        assert texts == tuple(word.text for word in words)
        assert not words or words[0].start == search.onset(state)


def test_log_probabilities_that_are_no_numbers_are_refused(search):
    _, state = search.step(frames("- B AH"))
    with pytest.raises(GraphError, match="no numbers"):
        search.step(np.full((1, 40), np.nan, np.float32), state)


def test_old_states_stay_valid(search):
    _, fork = search.step(frames("- B AH S -"))
    first, one = search.step(frames("T AA P -"), fork)
    second, two = search.step(frames("S T AA P -"), fork)
    assert first == tuple(word.text for word in search.finish(one)) == ("bus", "top")
    assert second == tuple(word.text for word in search.finish(two)) == ("bus", "stop")
    assert [word.text for word in search.finish(fork)] == ["bus"]


def test_audio_that_breaks_off_in_a_word_gives_the_word(search):
    assert recognised(search, frames("- B AH S - T IY P AA")) == "bus teapot"


def test_last_word_needs_nothing_after_it(search):
    assert recognised(search, frames("- B AH S - AH - R EH D")) == "bus a red"


def test_wrong_width_is_refused(search):
    with pytest.raises(
        GraphError, match=r"expects log-probabilities \[frames, 40\], got \[3, 29\]"
    ):
        search.step(np.zeros((3, 29), np.float32))


def test_priors_bring_out_what_is_rare(graph):
    unsure = np.log(0.55 * np.exp(frames("- - - - -")) + 0.45 * np.exp(frames("- B AH S -")))
    priors = [0.9, *[0.1 / 39] * 39]
    plain = GraphSearch(graph, SearchOptions(acoustic_scale=3.0))
    fair = GraphSearch(graph, SearchOptions(acoustic_scale=3.0, prior_scale=0.5, priors=priors))
    assert recognised(plain, unsure) == ""
    assert recognised(fair, unsure) == "bus"


@pytest.mark.parametrize(
    "option",
    [{"beam": 0}, {"max_active": 0}, {"acoustic_scale": -1}, {"priors": [0.5] * 39}],
)
def test_impossible_options_are_refused(option):
    with pytest.raises(UsageError, match="positive"):
        SearchOptions(**option)


def test_word_ends_tries_every_pronunciation():
    words = [((1,), (1, 2)), ((2, 3), (3,)), ((4, 5),)]
    assert word_ends(words, (1, 2, 3, 4, 5)) in ([1, 3, 5], [2, 3, 5])
    assert word_ends(words, (1, 3, 4)) == [1, 2, 3]
    assert word_ends(words[:1], (1, 2, 9)) == [2]
    assert word_ends([], (7, 8)) == []


def test_word_ends_that_cannot_be_are_an_error():
    with pytest.raises(GraphError, match="lexicon differ"):
        word_ends([((1, 2),), ((3,),)], (1, 3, 3))
