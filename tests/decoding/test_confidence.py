"""What makes a word sure."""

import numpy as np
import pytest

from asr.decoding.graph import Graph
from asr.decoding.search import GraphSearch, SearchOptions
from asr.errors import UsageError
from tests.decoding.world import frames

WEIGHTS = (4.0, -2.0, -2.0, 0.3, -0.3)


@pytest.fixture(scope="module")
def search(graph: Graph) -> GraphSearch:
    return GraphSearch(graph, SearchOptions(beam=30.0, word_confidence=WEIGHTS))


def confidences(search: GraphSearch, log_probs: np.ndarray) -> dict[str, float]:
    words = search.finish(search.step(log_probs)[1])
    return {word.text: word.confidence for word in words}


def test_a_clear_word_is_surer_than_a_mumbled_one(search):
    clear, mumbled = frames("- B AH S -", 0.97), frames("- T AA P -", 0.4)
    found = confidences(search, np.concatenate([clear, mumbled]))
    assert 0 < found["top"] < found["bus"] < 1
    alone = confidences(search, clear)
    assert alone["bus"] > found["bus"]  # a mumbling neighbour makes it doubtful


def test_an_expected_word_is_surer_than_a_surprising_one(search):
    """After "a" the graph expects "reed"; after "stop" it expects no word before others."""
    expected = confidences(search, frames("- AH - R IY D -"))
    surprising = confidences(search, frames("- S T AA P - R IY D -"))
    assert expected["reed"] > max(surprising.get("reed", 0), surprising.get("read", 0))


def test_words_and_times_are_those_of_the_search(search):
    log_probs = frames("- AH - R EH D - B AH S")
    plain = GraphSearch(search.graph)
    rated, words = (each.finish(each.step(log_probs)[1]) for each in (search, plain))
    assert [(w.text, w.start, w.end) for w in rated] == [(w.text, w.start, w.end) for w in words]
    assert [w.confidence for w in rated] != [w.confidence for w in words]
    assert search.finish(search.step(log_probs[:0])[1]) == ()


def test_weights_that_do_not_fit():
    with pytest.raises(UsageError, match="word_confidence"):
        SearchOptions(word_confidence=(1.0, 2.0))
