"""Token passing finds what kaldi-decoder finds in the composed graph; histories keep their word.

What is compiled finds what the specification in numpy finds, to the last bit.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import kaldi_decoder
import kaldifst
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.acoustic import AcousticModel
from asr.bundle import Bundle
from asr.decoding import passing
from asr.decoding.build import build
from asr.decoding.ctc import write_expanded
from asr.decoding.fst import ARC, Fst
from asr.decoding.graph import Graph
from asr.decoding.lexicon import Lexicon
from asr.decoding.nbest import Hypothesis, alternatives
from asr.decoding.packed import PACKED
from asr.decoding.passing import NO_STEPS, NOWHERE, Beam, BestPath, History, start, table, walk
from asr.decoding.phone_graph import PhoneGraph
from asr.decoding.search import GraphSearch, GraphState, SearchOptions
from asr.decoding.stored import Stored
from asr.decoding.vocabulary import Vocabulary
from asr.errors import GraphError
from tests.decoding.world import LEXICON, bigrams, frames, noise, small_graph
from tests.speech import ROOT, utterances

WRONG_KEYS = st.sampled_from([0, 1, 40, 61, 63, 64, 200 << 6, 2**29, 2**30 - 1, 2**31, 2**32 - 1])
"""Of arcs in a damaged graph."""
compiled = pytest.mark.skipif(
    not passing.COMPILED, reason="asr.decoding._passing is not there: it needs a C compiler"
)
both = pytest.mark.parametrize("known", [pytest.param(True, marks=compiled), False])


@contextmanager
def implementation(known: bool) -> Iterator[None]:
    """Lets the compiled token passing do the work, or numpy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passing, "COMPILED", known)
        yield


ALIKE = {"tee": "tea", "red": "read", "reed": "read"}
"""Words that sound like another one may cost the same."""


def spelled(texts: Iterable[str]) -> list[str]:
    """The words, each for all that sound like it."""
    return [ALIKE.get(text, text) for text in texts]


def words(hypothesis: Hypothesis) -> tuple[str, ...]:
    return tuple(word.text for word in hypothesis.words)


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


@both
@given(count=st.integers(1, 60), seed=st.integers(0, 100_000))
def test_equals_kaldi_decoder_on_the_composed_graph(composed, known, count, seed):
    search = GraphSearch(Graph.of(small_graph()), SearchOptions(beam=60.0, max_active=10_000))
    log_probs = noise(count, seed)
    with implementation(known):
        texts, state = search.step(log_probs)
        found = alternatives(search, state, 4)
    likely = [texts]  # and what is as likely, but for the rounding of floats
    likely += [words(one) for one in found if one.score > found[0].score - 1e-3]
    expected = kaldi_words(composed, search.graph, log_probs)
    assert spelled(expected) in map(spelled, likely)


def test_a_doubled_phone_is_not_a_held_one():
    """Between two equal phones there is a blank."""
    lexicon = Lexicon.from_text("tea T IY\neat IY T\n")
    search = GraphSearch(Graph.of(build(lexicon, bigrams(lexicon, {}))), SearchOptions(beam=60.0))
    held, _ = search.step(frames("- IY T T T IY -"))
    assert held != ("eat", "tea")
    doubled = search.words(search.step(frames("- IY T - T IY -"))[1])
    assert [(word.text, word.start, word.end) for word in doubled] == [("eat", 1, 3), ("tea", 4, 6)]


def random_graph(seed: int, states: int, circle: bool = False, words: bool = False) -> Graph:
    """Few labels and costs, so that many ways meet and cost the same."""
    rng = np.random.default_rng(seed)
    arcs = np.zeros(4 * states, ARC)
    sources = rng.integers(states, size=len(arcs))
    arcs["next"] = rng.integers(states, size=len(arcs))
    arcs["weight"] = rng.integers(-2, 9, size=len(arcs)) / 4
    arcs["ilabel"] = rng.integers(5, size=len(arcs))
    backward = (arcs["ilabel"] == 0) & (arcs["next"] <= sources)
    arcs["ilabel"][backward] = 1
    if circle:
        arcs[:2] = [(0, 0, 0.0, 0), (1, 0, 0.0, 0)]
        sources[:2] = 0
    final = np.zeros(states, np.float32)
    if words:
        arcs["olabel"] = rng.integers(-6, len(LEXICON) + 3, len(arcs)).clip(0)
        final = rng.choice(np.array([-1.0, 0.0, 1.5, np.inf], np.float32), states)
    return Graph.of(PhoneGraph(Vocabulary.of(LEXICON), Fst.of(0, final, sources, arcs)))


def walked(graph: Graph, costs: np.ndarray, pieces: int, **limits) -> list:
    """All that is known after each piece."""
    known, path, rng = [], NO_STEPS, np.random.default_rng(len(costs))
    alive, history = start(graph, limits["beam"])
    for piece in np.array_split(costs, pieces):
        frame, cap = len(known), rng.choice([1.0, math.inf])
        alive, history, found = walk(
            graph, alive, history, history.used, piece, frame, known=path, cap=cap, **limits
        )
        known.append([alive.rows, history.table[: history.used], history.shared(alive)])
        known[-1] += [found.shared, found.steps, [*found.given]] if found else [None]
        path = np.append(path[: found.shared], found.steps) if found else NO_STEPS
        cleaned = history.compacted(history.used, alive, path)
        known[-1] += [cleaned[0].table[: cleaned[0].used], cleaned[1].rows, cleaned[2]]
    return known


@compiled
@given(
    seed=st.integers(0, 100_000),
    states=st.integers(1, 60),
    count=st.integers(1, 30),
    pieces=st.integers(1, 5),
    beam=st.sampled_from([0.5, 3.0, 10.0]),
    most=st.sampled_from([1, 7, 3000]),
    ties=st.booleans(),
    words=st.booleans(),
)
def test_compiled_equals_numpy_to_the_last_bit(
    seed, states, count, pieces, beam, most, ties, words
):
    graph, costs = random_graph(seed, states, words=words), -noise(count, seed)
    costs = np.round(costs) if ties else costs
    with implementation(True):
        one = walked(graph, costs, pieces, beam=beam, most=most)
    with implementation(False):
        other = walked(graph, costs, pieces, beam=beam, most=most)
    for a, b in zip(one, other, strict=True):
        assert all(map(np.array_equal, a, b))


@compiled
def test_compiled_equals_numpy_on_speech():
    model = ROOT / "models" / "en-small"
    bundle = Bundle.open(model)
    acoustic = AcousticModel(bundle)
    search = GraphSearch(
        Graph.load(model / "dictation.graph"), SearchOptions(**bundle.settings.search)
    )
    for utterance in utterances("dev", 2, "librispeech"):
        samples = utterance.samples[: len(utterance.samples) // bundle.settings.frame * 640]
        log_probs, _ = acoustic.step(samples[None])
        heard = []
        mapped = replace(search, graph=search.graph.mapped())
        for known, each in (True, search), (False, mapped):
            with implementation(known):
                heard.append(chunk_by_chunk(each, log_probs[0, :200]))
        assert heard[0] == heard[1]
        assert heard[0][-1][0]


def test_the_best_end_counts_what_ending_costs():
    """No sentence ends in the cheapest state, and breaking off there may cost too much."""
    graph = Graph.of(small_graph())
    alive, history = start(graph, 10.0)
    costs = -frames("- T IY")
    alive, history, _ = walk(graph, alive, history, history.used, costs, 0, 10.0, 3000)
    totals = alive.cost + graph.finals(alive.states)

    def best_path(known: np.ndarray, cap: float) -> BestPath | None:
        return walk(graph, alive, history, history.used, costs[:0], 3, 9.0, 9, known, cap)[2]

    for which in (passing.COMPILED, False):
        with implementation(which):
            for cap, best in (math.inf, totals.argmin()), (0.0, alive.cost.argmin()):
                shared, steps, given = best_path(NO_STEPS, cap)
                _, expected = history.path(int(alive.last[best]))
                assert (shared, steps.tolist()) == (0, expected)
                labels = graph.words(history.arc[steps]).tolist()
                assert [*given] == [(place, label) for place, label in enumerate(labels) if label]
                again = best_path(steps, cap)
                assert (again.shared, len(again.steps)) == (len(steps), 0)


def chunk_by_chunk(search: GraphSearch, log_probs: np.ndarray) -> list:
    state: GraphState | None = None
    heard = []
    for begin in range(0, len(log_probs), 4):
        words, state = search.step(log_probs[begin : begin + 4], state)
        heard.append((words, search.words(state), search.stable(state), search.labels(state)))
    return heard


def damaged(graph: Graph, place: int, key: int) -> Graph:
    """The graph with one of its arcs leading elsewhere."""
    arcs = graph.arcs.copy()
    arcs["key"][place % (len(arcs) - 1)] = key
    return replace(graph, arcs=arcs)


@compiled
@given(
    seed=st.integers(0, 1000),
    value=WRONG_KEYS,
)
def test_a_damaged_graph_is_not_followed_out_of_its_array(seed, value):
    graph = damaged(random_graph(seed, 20), seed, value)
    nobody, history = start(random_graph(seed, 20), 10.0)
    try:
        with implementation(True):
            walk(graph, nobody, history, history.used, -noise(20, seed), 0, 10.0, 3000)
    except GraphError as error:
        assert "the graph is damaged" in str(error) or "without end" in str(error)


@both
def test_arcs_without_a_phone_that_lead_on_without_end_are_refused(known):
    graph = random_graph(1, 20, circle=True)
    with implementation(known), pytest.raises(GraphError, match="without end"):
        GraphSearch(graph, SearchOptions()).step(noise(5, 1))


@compiled
def test_arrays_of_other_kinds_are_refused(graph):
    alive, history = start(graph, 10.0)
    for wrong in (
        graph.arcs[:0],
        graph.arcs["key"].copy(),
        np.repeat(graph.arcs, 2)[::2],
        np.frombuffer(b"." + graph.arcs.tobytes(), PACKED, len(graph.arcs), 1),
    ):
        with implementation(True), pytest.raises((GraphError, TypeError, BufferError)):
            walk(replace(graph, arcs=wrong), alive, history, history.used, -noise(3, 1), 0, 10.0, 9)
    with implementation(True), pytest.raises(GraphError):
        walk(graph, alive, history, len(history.table) + 1, -noise(3, 1), 0, 10.0, 9)
    below = np.full(len(alive.keys), -2)
    for ends in (below, alive.after_phone), (alive.after_blank, below):
        wrong = Beam.of(alive.keys, alive.blank, alive.phone, *ends)
        with implementation(True), pytest.raises(GraphError):
            walk(graph, wrong, history, history.used, -noise(3, 1), 0, 10.0, 9)


@pytest.fixture
def dictation() -> Graph:
    return Graph.load(ROOT / "models" / "en-small" / "dictation.graph")


def wandering(graph: Graph, seed: int, count: int = 300) -> list:
    """What is heard in noise, which leads all over a graph."""
    search = GraphSearch(graph, SearchOptions())
    return chunk_by_chunk(search, noise(count, seed))


@compiled
def test_what_is_kept_of_a_file_changes_nothing(dictation):
    """However often blocks are given up for others: noise comes by 4.5 times what is kept."""
    assert wandering(dictation, 1) == wandering(dictation.mapped(), 1)
    assert len(dictation.kept) == 1


@compiled
def test_threads_keep_blocks_of_their_own(dictation):
    seeds = range(4)
    mapped = dictation.mapped()
    expected = [wandering(mapped, seed, 100) for seed in seeds]
    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(lambda seed: wandering(dictation, seed, 100), seeds)] == expected
    assert 1 <= len(dictation.kept) <= 4


@compiled
def test_a_graph_that_can_no_longer_be_read_is_an_error(tmp_path):
    """As when the cache's disk is gone."""
    graph = Graph.of(small_graph())
    with (tmp_path / "arcs").open("w+b") as file:
        Stored.write(file, graph.arcs)
        file.seek(0)
        graph = replace(graph, arcs=Stored.read(file))
        search, log_probs = GraphSearch(graph), frames("- T IY")
        texts, state = search.step(log_probs)
        assert texts and search.words(state)
        file.truncate(graph.arcs.begin)
        assert search.step(log_probs, state)[0], "what was read stays"
        gone = GraphSearch(replace(graph, kept=deque()))
        for call in (
            lambda: gone.step(log_probs),
            lambda: walk(gone.graph, state.alive, state.history, 0, -log_probs, 0, 9.0, 9),
            lambda: gone.finished(state),
            lambda: search.words(replace(state)),
        ):
            with pytest.raises(GraphError, match="can no longer be read"):
                call()


@both
def test_a_label_that_is_not_there_is_damage(known):
    graph = Graph.of(small_graph())
    with implementation(known), pytest.raises(GraphError, match="the graph is damaged"):
        GraphSearch(replace(graph, word=graph.word[:0])).step(frames("- T IY"))


@compiled
@pytest.mark.parametrize("wrong", [(-1, 5), (0, 0), (0, 1 << 25)])
def test_only_arcs_that_can_be_are_kept(wrong):
    with pytest.raises(ValueError, match="damaged"):
        passing._passing.keep(0, *wrong)


def grown(parents: list[int]) -> History:
    history = History(1)
    for count, parent in enumerate(parents):
        history = history.extended(count, np.array([[parent, count, count]]))
    return history


def reached(steps: list[int], by_phone: list[bool]) -> Beam:
    """Hypotheses that end in some steps, by one of their ways alone; the other is none."""
    phone = np.array(by_phone[: len(steps)])
    costs = [np.where(each, 1.0, np.inf) for each in (~phone, phone)]
    ends = [np.where(each, steps, NOWHERE) for each in (~phone, phone)]
    return Beam.of(np.arange(len(steps)), *costs, *ends)


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
    shared, new = history.path(step, np.array(known, np.int32))
    assert [*known[:shared], *new] == ancestors(parents, step)
    steps = data.draw(st.lists(some, min_size=1))
    alive = reached(steps, data.draw(st.lists(st.booleans(), min_size=len(steps))))
    paths = [ancestors(parents, step) for step in steps]
    shared = [a for a, *rest in zip(*paths, strict=False) if all(b == a for b in rest)]
    assert history.shared(alive) == (shared[-1] if shared else NOWHERE)


@pytest.mark.parametrize("known", [False, pytest.param(True, marks=compiled)])
@given(parents=PARENTS, data=st.data())
def test_a_cleaned_history_keeps_what_is_asked_for(known, parents, data):
    history = grown(list(parents))
    steps = data.draw(st.lists(st.integers(NOWHERE, len(parents) - 1), min_size=1))
    path = ancestors(parents, steps[-1])
    with implementation(known):
        cleaned, alive, new = history.compacted(
            len(parents), reached(steps, [True] * len(steps)), np.array(path, np.int32)
        )
    assert cleaned.used == len({step for each in steps for step in ancestors(parents, each)})
    for step, end in zip(steps, alive.after_phone.tolist(), strict=True):
        _, kept = cleaned.path(end)
        assert [int(cleaned.arc[each]) for each in kept] == ancestors(parents, step)
    assert new.tolist() == cleaned.path(int(alive.after_phone[-1]))[1]
    assert alive.after_blank.tolist() == [NOWHERE] * len(steps)


@compiled
def test_a_history_that_is_none_is_not_followed():
    forward = table(np.array([1, 0]), 0, 0)
    one, far, below = (reached([step], [True]).rows for step in (1, 5, -2))
    for history, alive in (forward, one), (forward[:1], one), (forward[::-1].copy(), far):
        with pytest.raises(ValueError, match="no steps of the history"):
            passing._passing.compacted(history, alive, NO_STEPS)
    for history, alive in (forward, far), (forward, below), (forward[:1], one):
        with pytest.raises(ValueError, match="no steps of the history"):
            passing._passing.shared(history, alive)
    chain = table(np.array([NOWHERE, 0]), 0, 0)
    for path in ([2], [-1]):
        with pytest.raises(ValueError, match="no steps of the history"):
            passing._passing.compacted(chain, one, np.array(path, np.int32))


def test_a_history_that_two_go_on_from_stays_what_it_was():
    trunk = grown([NOWHERE, 0])
    one = trunk.extended(2, np.array([[1, 7, 2]]))
    other = trunk.extended(2, np.array([[0, 8, 2]]))
    assert one.path(2) == (0, [0, 1, 2])
    assert other.path(2) == (0, [0, 2])
    assert (one.arc[2], other.arc[2]) == (7, 8)
