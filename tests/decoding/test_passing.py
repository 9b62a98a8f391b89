"""Token passing finds what kaldi-decoder finds in the composed graph; histories keep their word."""

from pathlib import Path

import kaldi_decoder
import kaldifst
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.decoding.build import build
from asr.decoding.ctc import write_expanded
from asr.decoding.graph import Graph
from asr.decoding.lexicon import Lexicon
from asr.decoding.passing import NOWHERE, History
from asr.decoding.search import GraphSearch, SearchOptions
from tests.decoding.world import bigrams, frames, noise, small_graph

ALIKE = {"tee": "tea", "red": "read", "reed": "read"}
"""Words that sound like another one may cost the same."""


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> kaldifst.StdFst:
    path: Path = tmp_path_factory.mktemp("composed") / "graph.fst"
    with path.open("wb") as file:
        write_expanded(small_graph().fst, file)
    return kaldifst.StdConstFst.read(str(path))


def kaldi_words(composed: kaldifst.StdFst, graph: Graph, log_probs: np.ndarray) -> list[str]:
    options = kaldi_decoder.FasterDecoderOptions(beam=60.0, max_active=10_000)
    decoder = kaldi_decoder.FasterDecoder(composed, options)
    decoder.init_decoding()
    decoder.advance_decoding(kaldi_decoder.DecodableCtc(log_probs))
    _, path = decoder.get_best_path()
    _, _, labels, _ = kaldifst.get_linear_symbol_sequence(path)
    return [graph.vocabulary[label][0] for label in labels]


@given(count=st.integers(1, 60), seed=st.integers(0, 100_000))
def test_equals_kaldi_decoder_on_the_composed_graph(composed, count, seed):
    graph = Graph.of(small_graph())
    log_probs = noise(count, seed)
    words, _ = GraphSearch(graph, SearchOptions(beam=60.0, max_active=10_000)).step(log_probs)
    expected = kaldi_words(composed, graph, log_probs)
    assert [ALIKE.get(word.text, word.text) for word in words] == [
        ALIKE.get(word, word) for word in expected
    ]


def test_a_doubled_phone_is_not_a_held_one():
    """Between two equal phones there is a blank."""
    lexicon = Lexicon.from_text("tea T IY\neat IY T\n")
    search = GraphSearch(Graph.of(build(lexicon, bigrams(lexicon, {}))), SearchOptions(beam=60.0))
    held, _ = search.step(frames("- IY T T T IY -"))
    assert [word.text for word in held] != ["eat", "tea"]
    doubled, _ = search.step(frames("- IY T - T IY -"))
    assert [(word.text, word.start, word.end) for word in doubled] == [("eat", 1, 3), ("tea", 4, 6)]


def grown(parents: list[int]) -> History:
    history = History(1)
    for count, parent in enumerate(parents):
        history = history.extended(count, np.array([parent]), np.array([count]), count)
    return history


PARENTS = st.integers(1, 60).flatmap(
    lambda n: st.tuples(*[st.integers(NOWHERE, max(NOWHERE, i - 1)) for i in range(n)])
)


def ancestors(parents: tuple[int, ...], step: int) -> list[int]:
    path = []
    while step != NOWHERE:
        path.append(step)
        step = parents[step]
    return path[::-1]


@given(PARENTS, st.data())
def test_history_answers_like_a_tree(parents, data):
    history = grown(list(parents))
    some = st.integers(0, len(parents) - 1)
    known = ancestors(parents, data.draw(some))
    step = data.draw(some)
    assert history.path(step, known) == ancestors(parents, step)
    steps = data.draw(st.lists(some, min_size=1))
    paths = [ancestors(parents, step) for step in steps]
    shared = [a for a, *rest in zip(*paths, strict=False) if all(b == a for b in rest)]
    assert history.shared(np.array(steps)) == (shared[-1] if shared else NOWHERE)


@given(PARENTS, st.data())
def test_a_cleaned_history_keeps_what_is_asked_for(parents, data):
    history = grown(list(parents))
    steps = data.draw(st.lists(st.integers(0, len(parents) - 1), min_size=1))
    cleaned, number = history.compacted(len(parents), np.array(steps))
    assert cleaned.used == len({step for each in steps for step in ancestors(parents, each)})
    for step in steps:
        path = cleaned.path(int(number[step]), [])
        assert cleaned.arc[path].tolist() == ancestors(parents, step)
    assert number[NOWHERE] == NOWHERE


def test_a_history_that_two_go_on_from_stays_what_it_was():
    trunk = grown([NOWHERE, 0])
    one = trunk.extended(2, np.array([1]), np.array([7]), 2)
    other = trunk.extended(2, np.array([0]), np.array([8]), 2)
    assert one.path(2, []) == [0, 1, 2]
    assert other.path(2, []) == [0, 2]
    assert (one.arc[2], other.arc[2]) == (7, 8)
