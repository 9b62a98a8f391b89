"""The n best hypotheses against all that there are."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asr.acoustic import AcousticModel
from asr.bundle import Bundle
from asr.decoding import nbest, passing
from asr.decoding.graph import Graph
from asr.decoding.hypothesis import BLANK, TOKEN_BITS
from asr.decoding.nbest import WITHIN, alternatives, best_paths
from asr.decoding.packed import END
from asr.decoding.passing import Beam, History, start
from asr.decoding.phone_graph import BREAK_OFF
from asr.decoding.search import GraphSearch, SearchOptions
from asr.decoding.stored import Stored
from asr.errors import GraphError, UsageError
from tests.decoding.test_passing import WRONG_KEYS, compiled, damaged, implementation, random_graph
from tests.decoding.world import frames, noise
from tests.speech import ROOT, utterances

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
        _, arcs = graph.arcs_of(np.array([state]))
        columns = graph.keys(arcs), graph.words(arcs), graph.costs(arcs)
        for key, label, price in zip(*(column.tolist() for column in columns), strict=True):
            target, token = divmod(key, 1 << TOKEN_BITS)
            if token != END and (spoken or token == BLANK):
                more = (*words, graph.vocabulary[label][0]) if label else words
                yield token, target, more, cost + price

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
        begun = {graph.start: float(graph.finals(np.array([after]))[0]), after: 0.0}
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
        cost += float(graph.finals(np.array([state]))[0])
        best[words] = min(cost, best.get(words, np.inf))
    return best


@example(276, 5)  # "reed tea" and "read tee" are told apart
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


def spoken(seed: int, states: int) -> Graph:
    """A graph by chance, in which words are here and there, and in some states nothing ends."""
    return random_graph(seed, states, words=True)


def both(graph: Graph, costs: np.ndarray, options: SearchOptions, *rest: float) -> list:
    """What is compiled finds, and what numpy finds."""
    found = []
    for known in (True, False):
        with implementation(known):
            score, paths = best_paths(GraphSearch(graph, options), None, costs, *rest)
        found.append((score, [(p.score, p.arcs.tolist(), p.frames.tolist()) for p in paths]))
    return found


@compiled
@settings(deadline=None)
@given(
    seed=st.integers(0, 100_000),
    states=st.integers(1, 60),
    count=st.integers(0, 30),
    beam=st.sampled_from([3.0, 10.0]),
    most=st.sampled_from([2, 3000]),
    n=st.sampled_from([1, 3, 50]),
    within=st.sampled_from([0.0, 4.0, 12.0]),
    cap=st.sampled_from([np.inf, BREAK_OFF]),
    followed=st.sampled_from([5, 5000]),
    ties=st.booleans(),
)
def test_compiled_equals_numpy_to_the_last_bit(
    seed, states, count, beam, most, n, within, cap, followed, ties
):
    costs = -noise(count, seed)
    costs = np.round(costs) if ties else costs
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nbest, "MOST", followed)
        options = SearchOptions(beam=beam, max_active=most)
        one, other = both(spoken(seed, states), costs, options, cap, n, within)
    assert one == other


@compiled
def test_compiled_equals_numpy_on_speech():
    model = ROOT / "models" / "en-small"
    bundle = Bundle.open(model)
    search = GraphSearch(
        Graph.load(model / "dictation.graph").mapped(), SearchOptions(**bundle.settings.search)
    )
    utterance = utterances("dev", 1, "librispeech")[0]
    samples = utterance.samples[: len(utterance.samples) // bundle.settings.frame * 640]
    log_probs, _ = AcousticModel(bundle).step(samples[None])
    costs = search.costs(log_probs[0, :150])
    one, other = both(search.graph, costs, search.options, BREAK_OFF, 50, 8.0)
    assert one == other
    assert len(one[1]) == 50


def called(graph: Graph, begun: tuple[Beam, History]) -> tuple:
    """What is compiled gives, whatever it is asked."""
    alive, history = begun
    words = graph.places, graph.vocabulary.hashes, history.table[: history.used]
    limits = 9.0, 99, np.inf, 9, 12.0, 500
    return passing.compiled("best_paths", graph, -noise(20, 1), alive, *words, *limits)


@compiled
@settings(deadline=None)
@given(
    seed=st.integers(0, 1000),
    value=WRONG_KEYS,
)
def test_a_damaged_graph_is_not_followed_out_of_its_array(seed, value):
    graph = spoken(seed, 20)
    try:
        called(damaged(graph, seed, value), start(graph, 9.0))
    except GraphError as error:
        assert "the graph is damaged" in str(error) or "without end" in str(error)


@compiled
def test_words_that_are_not_there_are_refused(tmp_path):
    """As in a damaged graph, and when their file was cut short."""
    graph = spoken(1, 20)
    begun = start(graph, 9.0)
    assert called(graph, begun)
    with pytest.raises(GraphError, match="the graph is damaged"):
        called(replace(graph, word=graph.word[:0]), begun)
    with (tmp_path / "words").open("w+b") as file:
        Stored.write(file, graph.word)
        file.seek(0)
        stored = replace(graph, word=Stored.read(file))
        assert called(stored, begun) == called(graph, begun)
        file.truncate(stored.word.begin)
        with pytest.raises(GraphError, match="can no longer be read"):
            called(stored, begun)


@compiled
def test_arrays_of_other_kinds_are_refused(graph):
    begun = start(graph, 9.0)
    assert called(graph, begun)
    for wrong in (
        {"arcs": graph.arcs[:0]},
        {"arcs": np.repeat(graph.arcs, 2)[::2]},
        {"word": np.zeros(9, np.int64)},
        {"word": np.zeros(18, np.uint32)[::2]},
    ):
        with pytest.raises((GraphError, TypeError, BufferError)):
            called(replace(graph, **wrong), begun)


@compiled
@pytest.mark.parametrize("step", [7_000, -2])
def test_steps_that_are_none_are_refused(graph, step):
    alive, history = start(graph, 9.0)
    nowhere = np.full(len(alive.keys), step, np.int32)
    alive = Beam.of(alive.keys, alive.blank, alive.phone, nowhere, nowhere)
    with pytest.raises(GraphError, match="damaged"):
        called(graph, (alive, history))


@compiled
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_costs_that_are_no_numbers_are_refused(graph, value):
    costs = np.full((3, noise(1, 1).shape[1]), value, np.float32)
    with implementation(True), pytest.raises(GraphError, match="no numbers"):
        best_paths(GraphSearch(graph), None, costs, np.inf, 9, 12.0)
