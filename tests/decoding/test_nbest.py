"""The n best hypotheses against all that there are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoding.graph import Graph
from asr.decoding.nbest import WITHIN, alternatives
from asr.decoding.search import GraphSearch, SearchOptions
from asr.errors import UsageError
from tests.decoding.world import frames, noise

WIDE = SearchOptions(beam=60.0, max_active=10_000)


@pytest.fixture(scope="module")
def search(graph: Graph) -> GraphSearch:
    return GraphSearch(graph, WIDE)


def texts(found: list) -> list[str]:
    return [" ".join(word.text for word in one.words) for one in found]


def exhaustive(
    search: GraphSearch, log_probs: np.ndarray, after: int | None = None
) -> dict[tuple[str, ...], float]:
    """The cost of the best path for each sequence of words: every path is followed, frame by frame.

    A path is known by its state, its last token, whether that still lasts, and its words.
    """
    graph = search.graph

    def onward(state, words, cost, spoken):
        """What arcs that take a phone, or none, lead to."""
        first, epsilons = int(graph.first[state]), int(graph.epsilons[state])
        places = (first + epsilons, int(graph.first[state + 1])) if spoken else (0, 0)
        for arc in (*range(first, first + epsilons), *range(*places)):
            label = int(graph.word[arc])
            more = (*words, graph.vocabulary[label][0]) if label else words
            yield int(graph.label[arc]), int(graph.next[arc]), more, cost + float(graph.cost[arc])

    def closed(paths):
        """Adds what follows without a phone."""
        waiting = list(paths.items())
        while waiting:
            (state, token, lasts, words), cost = waiting.pop()
            for _, target, more, price in onward(state, words, cost, False):
                key = target, token, lasts, more
                if price < paths.get(key, np.inf):
                    paths[key] = price
                    waiting.append((key, price))
        return paths

    begun = {graph.start: 0.0}
    if after is not None:
        begun = {graph.start: float(graph.final[after]), after: 0.0}
    paths = closed({(state, 0, False, ()): cost for state, cost in begun.items()})
    for costs in search.costs(log_probs).tolist():
        stay, entered = {}, {}
        for (state, token, lasts, words), cost in paths.items():
            options = [(stay, (state, token, False, words), cost + costs[0])]
            if lasts:
                options.append((stay, (state, token, True, words), cost + costs[token]))
            for label, target, more, price in onward(state, words, cost, True):
                if label and not (lasts and label == token):
                    options.append((entered, (target, label, True, more), price + costs[label]))
            for into, key, price in options:
                into[key] = min(price, into.get(key, np.inf))
        paths = closed(entered)
        for key, cost in stay.items():
            paths[key] = min(cost, paths.get(key, np.inf))
    best: dict[tuple[str, ...], float] = {}
    for (state, _, _, words), cost in paths.items():
        cost += float(graph.final[state])
        best[words] = min(cost, best.get(words, np.inf))
    return best


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_exactly_the_best_of_all(search, seed, count):
    log_probs = noise(count, seed)
    costs = sorted(exhaustive(search, log_probs).values())
    within = [cost for cost in costs if cost < costs[0] + WITHIN - 0.01][:20]
    found = alternatives(search, search.step(log_probs)[1], 20)
    assert [-one.score for one in found][: len(within)] == pytest.approx(within, abs=1e-3)
    assert len(set(texts(found))) == len(found)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from(["AH", "B AH S", "R EH D"]))
def test_exactly_the_best_of_all_that_can_follow(search, seed, count, before):
    log_probs = noise(count, seed)
    after = search.behind(search.step(frames(f"- {before} -"))[1], 1)
    assert after is not None
    best = exhaustive(search, log_probs, after)
    state = search.step(log_probs, search.start(after))[1]
    costs = sorted(best.values())
    said = tuple(word.text for word in search.finish(state))
    assert best[said] == pytest.approx(costs[0], abs=1e-3)
    within = [cost - costs[0] for cost in costs if cost < costs[0] + WITHIN - 0.01][:20]
    found = alternatives(search, state, 20)
    scores = [found[0].score - one.score for one in found]
    assert scores[: len(within)] == pytest.approx(within, abs=1e-3)


def test_the_words_of_each_score(search):
    log_probs = noise(5, 3)
    costs = exhaustive(search, log_probs)
    for one in alternatives(search, search.step(log_probs)[1], 20):
        words = tuple(word.text for word in one.words)
        assert -one.score == pytest.approx(costs[words], abs=1e-3)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.integers(1, 9))
def test_the_first_is_the_result(graph, seed, count, chunk):
    search = GraphSearch(graph, SearchOptions(beam=8.0, max_active=40))
    log_probs, state = noise(count, seed), None
    for begin in range(0, max(1, count), chunk):
        _, state = search.step(log_probs[begin : begin + chunk], state)
    found = alternatives(search, state, 5)
    assert found[0].words == search.finish(state)
    assert found[0].labels == search.labels(search.finished(state))
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    assert alternatives(search, state, 1) == found[:1]


def test_homophones_with_their_times(search):
    sounds = frames("- AH - R IY D - - B AH S - -")
    found = alternatives(search, search.step(sounds)[1], 3)
    assert texts(found)[:2] == ["a reed bus", "a read bus"]
    for one in found[:2]:
        assert [(word.start, word.end) for word in one.words] == [(1, 2), (3, 6), (8, 11)]


def test_a_long_segment_in_which_nothing_is_clear(search):
    found = alternatives(search, search.step(noise(500, 7))[1], 10)
    assert len(found) == 10


def test_nothing_heard(search):
    (only,) = alternatives(search, search.step(frames("")[:0])[1], 4)
    assert only.words == ()


def test_none_is_too_few(search):
    with pytest.raises(UsageError, match="positive"):
        alternatives(search, search.step(frames("-"))[1], 0)
