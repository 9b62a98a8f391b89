"""Graphs on the disk: what is saved is loaded, what is damaged is refused, the cache is safe."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoding.columns import STEP
from asr.decoding.fst import ARC, Fst
from asr.decoding.graph import Graph
from asr.decoding.hypothesis import TOKEN_BITS
from asr.decoding.packed import END
from asr.decoding.phone_graph import BREAK_OFF, PhoneGraph
from asr.decoding.search import GraphSearch, SearchOptions
from asr.decoding.vocabulary import Vocabulary
from asr.errors import GraphError
from tests.decoding.world import LEXICON, frames, small_graph

PACKED = small_graph()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    PACKED.save(tmp_path / "small.graph")
    return tmp_path / "small.graph"


def sentence(graph: Graph) -> str:
    return " ".join(GraphSearch(graph, SearchOptions()).step(frames("- AH - R IY D - -"))[0])


def test_vocabulary_has_words_and_pronunciations():
    vocabulary = Vocabulary.of(LEXICON)
    assert [vocabulary[label][0] for label in range(1, len(vocabulary) + 1)] == list(LEXICON)
    assert vocabulary[1] == ("a", ((3,), (13,)))


def test_round_trip(path):
    again = PhoneGraph.load(path)
    assert again.fst.start == PACKED.fst.start
    for name in ("ilabel", "olabel", "next"):
        assert np.array_equal(again.fst.arcs[name], PACKED.fst.arcs[name])
    assert np.abs(again.fst.arcs["weight"] - PACKED.fst.arcs["weight"]).max() <= STEP / 2
    assert np.allclose(again.fst.states["final"], PACKED.fst.states["final"], atol=STEP / 2)
    assert np.array_equal(again.vocabulary.text, PACKED.vocabulary.text)


def test_unpacks_once(path, cache):
    told = []
    first = Graph.load(path, told.append)
    assert told[-1] == 1.0
    again = Graph.load(path, lambda _: pytest.fail("unpacked a second time"))
    assert sentence(first) == sentence(again) == "a reed"
    assert len(list(cache.iterdir())) == 1


def test_another_graph_has_another_place_in_the_cache(path, cache):
    Graph.load(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.npy", b"")
    Graph.load(path)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("damage", [b"", b"nothing", None])
def test_damaged_cache_is_made_again(path, cache, damage):
    Graph.load(path)
    (cached,) = cache.iterdir()
    cached.write_bytes(cached.read_bytes()[:-5] if damage is None else damage)
    assert sentence(Graph.load(path)) == "a reed"


def test_processes_at_once(path, cache):
    program = f"""
from pathlib import Path
from asr.decoding.graph import Graph
print(len(Graph.load(Path({str(path)!r})).arcs))
"""
    runs = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    counts = {run.communicate(timeout=120)[0] for run in runs}
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert counts == {f"{len(Graph.load(path).arcs)}\n"}
    assert len(list(cache.iterdir())) == 1


def test_full_disk_is_an_error_that_leaves_nothing(path, cache):
    program = f"""
import resource
from pathlib import Path
from asr.decoding.graph import Graph
from asr.errors import GraphError
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    Graph.load(Path({str(path)!r}))
except GraphError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert f"cannot unpack the graph {path} into {cache}" in run.stdout, run.stderr
    assert "XDG_CACHE_HOME" in run.stdout
    assert list(cache.iterdir()) == []


def test_cache_that_cannot_be_is_an_error(path, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(GraphError, match=r"name another folder in .* XDG_CACHE_HOME"):
        Graph.load(path)


def test_cache_is_in_the_home_folder_by_default(path, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    Graph.load(path)
    assert list((tmp_path / ".cache" / "rill").iterdir())


def test_missing_file_is_named(tmp_path):
    with pytest.raises(GraphError, match=r"nowhere\.graph"):
        Graph.load(tmp_path / "nowhere.graph")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", os.urandom(1000)])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other.graph"
    path.write_bytes(content)
    with pytest.raises(GraphError, match=r"other\.graph is not a graph, or damaged"):
        Graph.load(path)


@settings(max_examples=50)
@given(share=st.floats(0, 1, exclude_max=True))
def test_cut_file_is_refused(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("cut") / "cut.graph"
    PACKED.save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(GraphError, match=r"cut\.graph"):
        PhoneGraph.load(path)


@settings(max_examples=100)
@given(share=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_changed_byte_is_refused_or_harmless(tmp_path_factory, share, flip):
    path = tmp_path_factory.mktemp("changed") / "changed.graph"
    PACKED.save(path)
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= flip
    path.write_bytes(data)
    try:
        graph = PhoneGraph.load(path)
    except GraphError as error:
        assert "changed.graph" in str(error)
    else:
        assert np.array_equal(graph.fst.arcs["next"], PACKED.fst.arcs["next"])
        assert np.array_equal(graph.vocabulary.text, PACKED.vocabulary.text)


def test_other_version_says_what_to_do(path):
    with np.load(path) as archive:
        columns = dict(archive)
    columns["format"] = np.array(99)
    with path.open("wb") as file:
        np.savez(file, **columns)
    with pytest.raises(GraphError, match="has format 99, this version reads 1: build the graph"):
        Graph.load(path)


def test_costs_that_do_not_fit_are_named(tmp_path):
    arcs = np.array([(1, 1, 5000.0, 0)], ARC)
    fst = Fst.of(0, np.zeros(1, np.float32), np.zeros(1, int), arcs)
    graph = PhoneGraph(Vocabulary.of({"a": [("AA",)]}), fst)
    for use in (Graph.of, lambda graph: graph.save(tmp_path / "dear.graph")):
        with pytest.raises(GraphError, match=r"5000 nats is too much, 1023\.\d+ can be"):
            use(graph)


def test_more_arcs_than_a_file_can_say_are_refused(tmp_path):
    arcs = np.zeros(1 << 16, ARC)
    fst = Fst.of(0, np.zeros(1, np.float32), np.zeros(len(arcs), int), arcs)
    graph = PhoneGraph(Vocabulary.of({"a": [("AA",)]}), fst)
    with pytest.raises(GraphError, match="has 65536 arcs, at most 65535 can be"):
        graph.save(tmp_path / "wide.graph")


def test_what_a_state_has_is_what_was_built():
    """Arcs, costs, words and ends of every state, found by walking from the start."""
    fst, graph = PACKED.fst, Graph.of(PACKED)
    waiting, known = [(fst.start, graph.start)], {fst.start: graph.start}
    while waiting:
        state, place = waiting.pop()
        row, at = fst.states[state], np.array([place])
        final = np.round(min(BREAK_OFF, row["final"]) / STEP) * STEP
        assert graph.finals(at)[0] == pytest.approx(final)
        _, arcs = graph.arcs_of(at)
        arcs = arcs[graph.keys(arcs) & END != END]
        built = fst.arcs[row["first"] : row["first"] + row["arcs"]]
        built = built[np.argsort(built["ilabel"], kind="stable")]
        assert (graph.keys(arcs) & END).tolist() == built["ilabel"].tolist()
        assert graph.words(arcs).tolist() == built["olabel"].tolist()
        assert np.abs(graph.costs(arcs) - built["weight"]).max(initial=0) <= STEP / 2
        for to, key in zip(built["next"].tolist(), graph.keys(arcs).tolist(), strict=True):
            if to not in known:
                known[to] = key >> TOKEN_BITS
                waiting.append((to, known[to]))
            assert known[to] == key >> TOKEN_BITS
    assert len(set(known.values())) == len(known) == len(fst.states)


@pytest.mark.parametrize(("name", "value"), [("next", -9999), ("word", 99), ("ilabel", 77)])
def test_arcs_to_nowhere_are_refused(path, name, value):
    with np.load(path) as archive:
        columns = dict(archive)
    columns[name][3] = value
    with path.open("wb") as file:
        np.savez(file, **columns)
    with pytest.raises(GraphError, match="arcs lead nowhere"):
        Graph.load(path)
