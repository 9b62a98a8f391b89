"""In 8-bit integers the model hears the same, whatever the cut and whoever is beside."""

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import asr
from asr.acoustic import AcousticModel
from asr.bundle import Bundle
from asr.errors import DeviceError, ExportError, ModelError
from asr.export import folder as export_folder
from asr.export.gate import Gate, measure
from asr.export.graph import build
from asr.export.quantise import in_blocks, quantise_8_bit, quantise_16_bit
from asr.export.verify import CUTS, SHIFTED, sound
from asr.nn.cells import CELLS
from asr.nn.encoder import EncoderConfig
from asr.nn.model import FRAME, CtcModel
from tests.decoding.world import small_graph
from tests.evaluation.manifest import cut, write
from tests.models import export_tiny, pair, tiny
from tests.sound import record


def shift(got, want):
    """Share of the probability that other tokens have, of each frame."""
    return np.abs(np.exp(got) - np.exp(want)).sum(axis=-1) / 2


MODELS = [
    *((make, cell, 2) for make in (tiny, pair) for cell in CELLS),
    (tiny, "gru", 0),
]


@pytest.fixture(scope="module", params=MODELS, ids=lambda p: f"{p[0].__name__}-{p[1]}-{p[2]}")
def bundle(request, tmp_path_factory):
    make, *shape = request.param
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return Bundle.open(export_tiny(folder, make(*shape), int8=True))


@pytest.fixture(scope="module")
def model(bundle):
    return AcousticModel(bundle)


def test_int8_runs_on_a_cpu_and_is_near_fp32(bundle, model):
    assert model.precision == "int8"
    fp32 = AcousticModel(bundle, precision="fp32")
    assert fp32.precision == "fp32"
    shifts = shift(model.step(sound(3))[0], fp32.step(sound(3))[0])
    assert 0 < shifts.mean() < SHIFTED


@pytest.mark.parametrize("cut", CUTS[1:], ids=len)
def test_any_cut_equals_the_whole(model, cut):
    """But for the rounding of floats before them, which may tip an integer."""
    audio = sound(1)
    whole, _ = model.step(audio)
    pieces, state = [], None
    for frames in np.split(audio, np.cumsum(cut)[:-1] * FRAME, axis=1):
        log_probs, state = model.step(frames, state)
        pieces.append(log_probs)
    assert shift(np.concatenate(pieces, axis=1), whole).mean() < 0.005


def test_a_stream_does_not_hear_its_neighbour(model):
    quiet = 0.01 * sound(1)
    loud = np.clip(100 * sound(1), -1, 1)
    alone, _ = model.step(quiet)
    beside, _ = model.step(np.concatenate([quiet, loud]))
    assert shift(beside[:1], alone).mean() < 0.005


def test_silence_is_heard(model):
    log_probs, state = model.step(np.zeros((1, 20 * FRAME), np.float32))
    assert np.isfinite(log_probs).all()
    assert all(np.isfinite(value).all() for value in state.values())


def test_a_stream_may_change_its_precision(bundle, model):
    fp32 = AcousticModel(bundle, precision="fp32")
    audio = sound(1)
    whole, _ = fp32.step(audio)
    first, state = fp32.step(audio[:, : 25 * FRAME])
    saved = fp32.state_to_bytes(state)
    second, _ = model.step(audio[:, 25 * FRAME :], model.state_from_bytes(saved))
    assert shift(np.concatenate([first, second], axis=1), whole).mean() < SHIFTED


def test_a_precision_that_is_not_there_is_named(tmp_path):
    folder = export_tiny(tmp_path / "tiny", int8=False)
    assert asr.load(folder, graph=None).acoustic.precision == "fp32"
    with pytest.raises(ModelError, match="no model in int8"):
        asr.load(folder, graph=None, precision="int8")
    with pytest.raises(ModelError, match="no model in int4"):
        asr.load(folder, graph=None, precision="int4")
    with pytest.raises(DeviceError, match=r"CUDA|int8"):
        asr.load(folder, graph=None, precision="int8", device="cuda")


def test_a_model_that_ships_is_a_quarter_of_the_size():
    torch.manual_seed(0)
    model = CtcModel(EncoderConfig())
    fp32, int8 = (build(model, "phones", {}, p).ByteSize() for p in ("fp32", "int8"))
    assert fp32 > 3.5 * int8


def test_wrong_weights_are_refused_and_nothing_is_written(tmp_path, monkeypatch):
    def build_wrong(model, head, properties, precision):
        proto = build(model, head, properties, precision)
        for weight in proto.graph.initializer:
            if precision == "int8" and weight.name.endswith("W.weight"):
                array = onnx.numpy_helper.to_array(weight)
                weight.CopyFrom(onnx.numpy_helper.from_array(np.roll(array, 16, 1), weight.name))
        return proto

    monkeypatch.setattr(export_folder, "build", build_wrong)
    with pytest.raises(ExportError, match=r"in int8 is .* off torch"):
        export_tiny(tmp_path / "model", int8=True)
    assert list(tmp_path.iterdir()) == []


matrices = st.tuples(st.integers(1, 20), st.integers(1, 5), st.integers(0, 99)).map(
    lambda n: np.random.default_rng(n[2]).standard_t(3, n[:2]).astype(np.float32)
)


@pytest.mark.parametrize("columns", [True, False])
def test_8_bits_leave_little_error(columns):
    weight = np.random.default_rng(0).standard_t(5, (384, 64)).astype(np.float32)
    integers, scale = quantise_8_bit(weight, columns=columns)
    plain = np.abs(weight).max(axis=0 if columns else None) / 127
    error, rounding = (
        np.square(step * whole - weight).mean()
        for step, whole in ((scale, integers), (plain, np.round(weight / plain)))
    )
    assert error < 1.5 * rounding


@given(matrices)
def test_no_processor_adds_two_products_to_more_than_16_bits(weight):
    for columns in (True, False):
        integers = quantise_8_bit(weight, columns=columns)[0].astype(int)
        for sign in (1, -1):
            parts = np.pad((sign * integers).clip(0), ((0, len(weight) % 2), (0, 0)))
            assert 255 * (parts[::2] + parts[1::2]).max() <= np.iinfo(np.int16).max


@given(matrices)
def test_16_bits_are_as_good_as_all(weight):
    integers, scale = quantise_16_bit(weight)
    assert np.abs(integers * scale - weight).max() <= np.abs(weight).max() / 32767


@given(st.integers(1, 9), st.integers(1, 40))
def test_blocks_hold_the_matrix(quads, outputs):
    matrix = np.arange(4 * quads * outputs).astype(np.int8).reshape(4 * quads, outputs)
    blocks = in_blocks(matrix)
    assert blocks.shape == (-(-outputs // 16), quads, 16, 4)
    rows = blocks.transpose(1, 3, 0, 2).reshape(4 * quads, -1)
    np.testing.assert_array_equal(rows[:, :outputs], matrix)
    assert not rows[:, outputs:].any()


def test_units_that_do_not_fit_the_blocks_are_named(tmp_path):
    model = CtcModel(EncoderConfig(hidden=18, layers=1, channels=12, lookahead=0))
    with pytest.raises(ExportError, match="18 is no multiple"):
        export_tiny(tmp_path / "tiny", model, int8=True)
    export_tiny(tmp_path / "tiny", model, int8=False)


def test_zeros_stay_zeros():
    integers, _ = quantise_8_bit(np.zeros((4, 2), np.float32))
    assert (integers == 0).all()
    assert (quantise_16_bit(np.zeros((4, 2), np.float32))[0] == 0).all()


def test_the_gate_lets_two_percent_through():
    words = np.full(100, 10)
    fp32 = np.full(100, 2)
    for more, passes in ((0, True), (4, True), (5, False)):
        int8 = fp32 + (np.arange(100) < more)
        gate = Gate(words, np.stack([fp32, int8], axis=1))
        low, high = gate.interval
        assert gate.rise == pytest.approx(more / 200)
        assert low <= gate.rise <= high
        if passes:
            gate.check()
        else:
            with pytest.raises(ExportError, match=r"20.00% in fp32 and 20.50% in int8, \+2.5%"):
                gate.check()


def test_the_gate_hears_both(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    small_graph().save(tmp_path / "graph")
    folder = export_tiny(tmp_path / "tiny", graphs={"dictation": tmp_path / "graph"}, int8=True)
    clip = record(tmp_path / "clip.wav", sound(1)[0])
    cuts = [cut(clip, 2.0, text, name=text) for text in ("red bus", "stop")]
    gate = measure(folder, write(tmp_path / "set.jsonl", *cuts))
    assert gate.words.tolist() == [2, 1]
    assert gate.errors.shape == (2, 2)


def test_the_gate_needs_words(tmp_path):
    with pytest.raises(ExportError, match="graph `dictation`"):
        export_tiny(tmp_path / "tiny", int8=True, dev=tmp_path / "dev.jsonl")
