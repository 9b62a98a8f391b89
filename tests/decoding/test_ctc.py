"""The CTC topology: what is held is one phone, what is said twice is two."""

import io
import tempfile
from pathlib import Path

import kaldi_decoder
import kaldifst
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.decoding.ctc import write_expanded
from asr.decoding.fst import Fst
from asr.decoding.lexicon import TOKENS
from asr.decoding.phone_graph import BREAK_OFF
from asr.errors import GraphError
from tests.decoding.world import frames, noise, small_graph

PACKED = small_graph()


def in_kaldifst(fst: Fst) -> kaldifst.StdFst:
    with tempfile.TemporaryDirectory() as folder:
        fst.write(Path(folder) / "graph.fst")
        return kaldifst.StdConstFst.read(f"{folder}/graph.fst")


def topology() -> kaldifst.StdVectorFst:
    """The textbook transducer: a state for blank, and one for each phone while it is held."""
    tokens = range(1, len(TOKENS))
    lines = ["0 0 1 0"]
    for held in tokens:
        lines += [f"0 {held} {held + 1} {held}", f"{held} {held} {held + 1} 0", f"{held} 0 1 0"]
        lines += [f"{held} {after} {after + 1} {after}" for after in tokens if after != held]
    finals = [str(state) for state in range(len(TOKENS))]
    fst = kaldifst.compile("\n".join([*lines, *finals, ""]))
    kaldifst.arcsort(fst, sort_type="olabel")
    return fst


def best(fst: kaldifst.StdFst, log_probs: np.ndarray) -> tuple[list[int], list[int], float]:
    decoder = kaldi_decoder.FasterDecoder(fst, kaldi_decoder.FasterDecoderOptions(beam=1000.0))
    decoder.init_decoding()
    decoder.advance_decoding(kaldi_decoder.DecodableCtc(log_probs))
    _, path = decoder.get_best_path(True)
    _, tokens, words, weight = kaldifst.get_linear_symbol_sequence(path)
    return tokens, words, weight.value1 + weight.value2


@pytest.fixture(scope="module")
def expanded() -> kaldifst.StdFst:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.fst"
        with path.open("wb") as file:
            write_expanded(PACKED.fst, file)
        return kaldifst.StdConstFst.read(str(path))


@pytest.fixture(scope="module")
def composed() -> kaldifst.StdFst:
    graph = kaldifst.StdVectorFst(in_kaldifst(PACKED.fst))
    kaldifst.arcsort(graph, sort_type="ilabel")
    fst = kaldifst.compose(topology(), graph)
    for state in kaldifst.StateIterator(fst):
        fst.set_final(state, min(fst.final(state).value, BREAK_OFF))
    return fst


@given(count=st.integers(1, 12), seed=st.integers(0, 10_000))
def test_equals_composition_with_the_textbook_topology(expanded, composed, count, seed):
    log_probs = noise(count, seed)
    ours, theirs = best(expanded, log_probs), best(composed, log_probs)
    assert ours[2] == pytest.approx(theirs[2], abs=1e-3)
    assert len(ours[0]) == len(theirs[0]) == count


def words(fst: kaldifst.StdFst, spelled: str) -> list[str]:
    return [PACKED.vocabulary[label][0] for label in best(fst, frames(spelled))[1]]


def test_held_phone_is_one_and_doubled_phone_is_two(expanded):
    assert words(expanded, "B AH S T AA P") == ["bus", "top"]
    assert words(expanded, "B AH S S S T AA P") == ["bus", "top"]
    assert words(expanded, "B AH S - S T AA P") == ["bus", "stop"]
    assert words(expanded, "B - AH - S - - S S T - AA P -") == ["bus", "stop"]


def test_progress_grows_to_one():
    seen = []
    write_expanded(PACKED.fst, io.BytesIO(), seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_fst_round_trip(tmp_path):
    PACKED.fst.write(tmp_path / "graph.fst")
    again = Fst.read(tmp_path / "graph.fst")
    assert again.start == PACKED.fst.start
    assert np.array_equal(again.arcs, PACKED.fst.arcs)
    assert np.array_equal(again.states, PACKED.fst.states)


@pytest.mark.parametrize("cut", [3, 70, -1])
def test_fst_cut_short_is_refused(tmp_path, cut):
    path = tmp_path / "graph.fst"
    PACKED.fst.write(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(GraphError, match=r"graph\.fst"):
        Fst.read(path)
