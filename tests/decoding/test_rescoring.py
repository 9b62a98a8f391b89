"""A language model that knows whole sentences decides between what the graph cannot tell apart."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoding.graph import Graph
from asr.decoding.hashes import word_hashes
from asr.decoding.language import END, UNKNOWN, LanguageModel
from asr.decoding.rescoring import OPEN, RescoredSearch
from asr.decoding.search import GraphSearch, SearchOptions
from asr.errors import ModelError
from tests.decoding.world import frames, loaded, small_graph
from tests.language import exported

SOUNDS = {
    "stop": "S T AA P",
    "bus": "B AH S",
    "a": "AH",
    "red": "R EH D",
    "tea or tee": "T IY",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Graph, Path]:
    folder = tmp_path_factory.mktemp("language")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        graph = loaded(small_graph(), folder / "small.graph")
        return graph, exported(folder, folder / "small.graph")


@pytest.fixture(scope="module")
def model(files) -> LanguageModel:
    return LanguageModel(files[1])


@pytest.fixture(scope="module")
def plain(files) -> GraphSearch:
    return GraphSearch(files[0], SearchOptions(beam=20.0))


@pytest.fixture(scope="module")
def search(plain, model) -> RescoredSearch:
    return RescoredSearch(plain, model, 0.5)


def said(*sounds: str, slowly: int = 1) -> np.ndarray:
    """Frames that say something, with so many blanks behind each sound."""
    return frames(" ".join(SOUNDS[sound] + slowly * " -" for sound in sounds), posterior=0.9)


def texts(words) -> str:
    return " ".join(word.text for word in words)


def cut(search, log_probs, sizes):
    """The state behind frames that came in pieces of these sizes, again and again."""
    state, begin, turn = None, 0, 0
    while begin < len(log_probs) or state is None:
        size = sizes[turn % len(sizes)]
        _, state = search.step(log_probs[begin : begin + size], state)
        begin, turn = begin + size, turn + 1
    return state


@pytest.mark.parametrize(
    ("sounds", "sentence"),
    [
        (("stop", "a", "tea or tee"), "stop a tea"),
        (("bus", "a", "tea or tee"), "bus a tee"),
        (("stop", "a", "red", "tea or tee"), "stop a red tea"),
        (("bus", "a", "red", "tea or tee"), "bus a red tee"),
    ],
)
def test_decided_by_what_was_said_long_before(search, plain, sounds, sentence):
    log_probs = said(*sounds)
    assert texts(search.finish(search.step(log_probs)[1])) == sentence
    by_graph = [
        texts(plain.finish(plain.step(said(first, *sounds[1:]))[1])) for first in ("stop", "bus")
    ]
    assert by_graph[0].split()[1:] == by_graph[1].split()[1:], "the graph alone can tell as well"


def test_nothing_weighs_nothing(plain, model):
    log_probs = said("stop", "a", "tea or tee")
    without = RescoredSearch(plain, model, 0.0)
    words, state = without.step(log_probs)
    expected, reached = plain.step(log_probs)
    assert words == expected
    assert without.words(state) == plain.words(reached)
    assert without.finish(state) == plain.finish(reached)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=4))
@settings(max_examples=10)
def test_any_cut_gives_the_same(search, sizes):
    log_probs = said("stop", "a", "red", "tea or tee", "bus", "a", "tea or tee", slowly=12)
    whole = cut(search, log_probs, [len(log_probs)])
    pieces = cut(search, log_probs, sizes)
    assert search.finish(pieces) == search.finish(whole)
    assert pieces.settled == whole.settled
    assert np.array_equal(pieces.log_probs, log_probs)


def test_what_is_stable_stays(search):
    log_probs = said("stop", "a", "red", "tea or tee", "bus", "a", "tea or tee", slowly=12)
    state, stable = None, ""
    for begin in range(0, len(log_probs), 3):
        words, state = search.step(log_probs[begin : begin + 3], state)
        found = search.words(state)
        assert words == tuple(word.text for word in found)
        assert not found or found[0].start == search.onset(state)
        now = " ".join(words[: search.stable(state)])
        assert now.startswith(stable)
        stable = now
    assert texts(search.finish(state)).startswith(stable)
    assert stable.startswith("stop a red tea")
    assert len(log_probs) > OPEN


def test_settled_words_have_the_times_of_the_segment(search):
    log_probs = said("stop", "a", "red", "tea or tee", "bus", "a", "tea or tee", slowly=12)
    *_, state = search.step(log_probs)
    found = search.finish(state)
    spoken = np.flatnonzero(log_probs.argmax(axis=1) > 0)
    starts = spoken[np.diff(spoken, prepend=-9) > 1]
    assert [word.start for word in found] == starts.tolist()


def test_all_stays_open_if_alternatives_are_asked_for(plain, model):
    search = RescoredSearch(plain, model, 0.5, settling=False)
    log_probs = said("stop", "a", "red", "tea or tee", "bus", "a", "tea or tee", slowly=12)
    *_, state = search.step(log_probs)
    assert search.stable(state) == 0
    found = search.alternatives(state, 5)
    assert len({texts(one.words) for one in found}) == 5
    assert found[0].words == search.finish(state)
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)


def test_goes_on_behind_other_words(search):
    *_, state = search.step(said("stop", "a"))
    count = len(search.finish(state))
    after = search.behind(state, count)
    assert after is not None
    *_, state = search.step(said("red"), search.start(after))
    assert texts(search.finish(state)) in {"red", "read"}


def test_scores_depend_on_all_words_before(model):
    sentences = ["stop a tea", "bus a tea", "stop a tee", "bus a tee"]
    scores = model.scores([model.ids(word_hashes(sentence.split())) for sentence in sentences])
    assert scores[0] > scores[2] + 2
    assert scores[3] > scores[1] + 2
    alone = [model.scores([model.ids(word_hashes(sentence.split()))])[0] for sentence in sentences]
    assert scores == pytest.approx(alone, abs=0.05)


def test_an_end_is_scored_only_where_there_is_one(model):
    ids = model.ids(word_hashes(["stop", "a"]))
    open_ended, over = (model.scores([ids], over=over)[0] for over in (False, True))
    assert over < open_ended - 1
    assert model.scores([()], over=False).tolist() == [0.0]
    assert model.scores([]).tolist() == []


def test_words_that_it_does_not_know(model):
    assert model.ids(word_hashes(["bus", "quux"]))[1] == UNKNOWN
    assert END not in model.ids(word_hashes(["bus", "quux"]))


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda _: b"x" * 99, lambda _: b""])
def test_a_damaged_file(files, tmp_path, damage):
    path = tmp_path / "language.onnx"
    path.write_bytes(damage(files[1].read_bytes()))
    with pytest.raises(ModelError, match="language model"):
        LanguageModel(path)
    with pytest.raises(ModelError, match="cannot read the language model"):
        LanguageModel(tmp_path / "nothing.onnx")
