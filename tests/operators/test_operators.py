"""The operators in C are those that a model says they are made of, with every kernel."""

from itertools import product

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import asr
from asr.audio import read
from asr.cli.demo import CLIP
from asr.export.graph import build
from asr.export.int8 import Int8Layers
from asr.export.verify import sound
from asr.nn.encoder import EncoderConfig
from asr.nn.frontend import HOP, MELS, TAIL
from asr.nn.model import CtcModel
from asr.operators import DOMAIN, KERNELS, _library
from asr.session import open_session
from tests.speech import ROOT

compiled = pytest.mark.skipif(
    not KERNELS,
    reason="asr.operators has no kernel here: it needs a C compiler, and AVX2 or a 64-bit ARM",
)


@pytest.fixture(params=KERNELS)
def kernel(request):
    _library.use(request.param)
    yield
    _library.use(KERNELS[0])


def layer(units: int, groups: int) -> bytes:
    """A model of one GRU: x [T, N, units] or [T, N, groups, units] and the state before."""
    generator = torch.Generator().manual_seed(units)
    shape = [groups] if groups > 1 else []

    def weights(*sizes):
        return torch.randn([*shape, *sizes], generator=generator) / units**0.5

    graph = Int8Layers()
    graph.groups = groups
    a = graph.linear("x", weights(3 * units, units), weights(3 * units), "input")
    graph.gru(a, "state", weights(3 * units, units), weights(3 * units), "layer")
    streams = ["streams", *shape, units]
    return graph.model(
        {"x": ["frames", *streams], "state": streams},
        {a: ["frames", *streams[:-1], 3 * units], "layer.states": ["frames", *streams]}
        | {"layer.end": streams},
        {},
    ).SerializeToString()


@compiled
@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(("units", "groups"), [(4, 1), (20, 1), (64, 1), (32, 2), (12, 3)])
def test_equals_what_it_is_made_of(units, groups):
    model = layer(units, groups)
    ours, theirs = open_session(model), onnxruntime.InferenceSession(model)
    generator = np.random.default_rng(0)
    shape = [groups] if groups > 1 else []
    for frames, streams in product((1, 7, 40), (1, 2, 3, 9)):
        inputs = {
            "x": generator.normal(0, 3, (frames, streams, *shape, units)).astype(np.float32),
            "state": generator.uniform(-1, 1, (streams, *shape, units)).astype(np.float32),
        }
        linear, states, end = ours.run(None, inputs)
        expected = theirs.run(None, inputs)
        # what lies halfway between two integers may be rounded to either
        np.testing.assert_allclose(linear, expected[0], atol=0.15)
        np.testing.assert_allclose(states, expected[1], atol=0.05)
        assert np.abs(states - expected[1]).mean() < 0.002
        np.testing.assert_array_equal(end, states[-1])


@compiled
@pytest.mark.usefixtures("kernel")
def test_large_and_small_inputs():
    session = open_session(layer(32, 1))
    for loudness in (0, 1e-20, 1e20, np.inf, np.nan):
        x = np.full((2, 1, 32), loudness, np.float32)
        linear, states, _ = session.run(None, {"x": x, "state": np.zeros((1, 32), np.float32)})
        if np.isfinite(loudness):
            assert np.isfinite(linear).all()
            assert (np.abs(states) <= 1).all()


@compiled
@pytest.mark.usefixtures("kernel")
def test_streams_do_not_hear_each_other():
    """To the last bit, however many stand beside one and however their frames are cut."""
    session = open_session(layer(48, 1))
    generator = np.random.default_rng(1)
    x = generator.normal(0, 1, (9, 7, 48)).astype(np.float32)
    state = np.zeros((7, 48), np.float32)
    _, together, _ = session.run(None, {"x": x, "state": state})
    for stream in range(7):
        alone, last = [], state[:1]
        for cut in np.split(x[:, stream : stream + 1], [1, 3]):
            _, states, last = session.run(None, {"x": cut, "state": last})
            alone.append(states)
        np.testing.assert_array_equal(np.concatenate(alone), together[:, stream : stream + 1])


@compiled
@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("hops", [4, 16, 52])
def test_features_are_those_of_the_frontend(streams, hops):
    """Of sound as loud as can be on an offset, of such as is hardly there, and of none at all."""
    model = CtcModel(EncoderConfig(hidden=16, layers=1, channels=16, lookahead=0))
    model.mean += torch.linspace(-10, 0, MELS)
    model.deviation *= torch.linspace(1, 3, MELS)
    graph = Int8Layers()
    features = graph.frontend(model)
    shapes = {"samples": ["N", TAIL], "audio": ["N", "S"]}, {features: ["F", "N", MELS]}
    shapes[1]["next_samples"] = ["N", TAIL]
    session = open_session(graph.model(*shapes, {}).SerializeToString())
    for loudness in (1.0, 1e-4, 0.0):
        samples = loudness * sound(streams)[:, : TAIL + hops * HOP] + np.float32(0.3 * loudness)
        tail, audio = samples[:, :TAIL], samples[:, TAIL:]
        found, last = session.run(None, {"samples": tail, "audio": audio})
        expected, next_tail = model.frontend.step(torch.from_numpy(audio), torch.from_numpy(tail))
        expected = (expected - model.mean) / model.deviation
        torch.testing.assert_close(
            torch.from_numpy(found), expected.transpose(0, 1), atol=1e-3, rtol=0
        )
        np.testing.assert_array_equal(last, next_tail)


@compiled
@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(("groups", "lookahead"), [(1, 4), (2, 1), (1, 0)])
def test_a_whole_model_is_what_it_is_made_of(groups, lookahead):
    torch.manual_seed(3)
    config = EncoderConfig(hidden=48, layers=3, channels=16, groups=groups, lookahead=lookahead)
    model = CtcModel(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.2)
    content = build(model, "phones", {}, "int8").SerializeToString()
    ours, theirs = open_session(content), onnxruntime.InferenceSession(content)
    inputs = [node.name for node in ours.get_inputs()]
    outputs = ["log_probs", *(f"next_{name}" for name in inputs[1:])]
    for streams, chunks in ((1, (640, 2560, 640)), (3, (2560, 640))):
        states = [
            {name: state.numpy() for name, state in model.start(streams).items()} for _ in range(2)
        ]
        audio = sound(streams)
        for samples in chunks:
            found = []
            for session, state in zip((ours, theirs), states, strict=True):
                chunk, rest = np.split(audio, [samples], axis=1)
                found.append(session.run(outputs, {"audio": chunk, **state}))
                state.update(zip(inputs[1:], found[-1][1:], strict=True))
            audio = rest
            for here, there in zip(*found, strict=True):
                assert here.shape == there.shape
                np.testing.assert_allclose(here, there, atol=0.15)
                assert np.abs(here - there).mean() < 0.01


FITTING = {
    "Int8Linear": {
        "x": (5, 16), "weight": (1, 3, 4, 16, 4), "sums": (1, 3, 16), "scale": (48,), "bias": (48,),
    },
    "Int8GRU": {
        "a": (5, 2, 48), "state": (2, 16),
        "weight": (1, 3, 4, 16, 4), "sums": (1, 3, 16), "scale": (1,), "bias": (48,),
    },
    "Int8GRULayer": {
        "x": (5, 2, 16), "state": (1, 2, 16), "norm.weight": (16,), "norm.bias": (16,),
        "W.weight": (1, 3, 4, 16, 4), "W.sums": (1, 3, 16), "W.scale": (48,), "W.bias": (48,),
        "U.weight": (1, 3, 4, 16, 4), "U.sums": (1, 3, 16), "U.scale": (1,), "U.bias": (48,),
    },
    "LogMel": {
        "samples": (2, 280), "audio": (2, 160), "window": (199,), "cosines": (199, 243),
        "sines": (199, 243), "mels": (243, 80), "mean": (80,), "deviation": (80,),
    },
    "Unfold": {"x": (4, 2, 16), "state": (2, 16, 1)},
    "RowConvolution": {"x": (5, 2, 16), "state": (2, 16, 3), "weight": (4, 16)},
}  # fmt: skip
"""Inputs of each operator and a shape that each may have."""


def kind(operator: str, name: str) -> np.dtype:
    """The type of an input."""
    integers = {"sums": np.int32, "weight": np.int8}
    of_matrix = operator.startswith("Int8") and not name.startswith("norm")
    return np.dtype(integers.get(name.rpartition(".")[2], np.float32) if of_matrix else np.float32)


def bare(operator: str) -> bytes:
    """A model of one operator, all of whose inputs come from outside."""
    outputs = ["y"] if operator == "Int8Linear" else ["y", "end"]
    graph = helper.make_graph(
        [helper.make_node(operator, [*FITTING[operator]], outputs, domain=DOMAIN)],
        "bare",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(kind(operator, name)), None
            )
            for name in FITTING[operator]
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
    )
    domains = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=8).SerializeToString()


sizes = st.lists(
    st.sampled_from([0, 1, 2, 3, 4, 12, 16, 40, 48, 199, 255, 256, 280, 360, 440]), max_size=6
).filter(lambda shape: np.prod(shape) < 1e6)


@pytest.fixture(scope="module")
def sessions():
    return {name: open_session(bare(name)) for name in FITTING}


@compiled
@pytest.mark.parametrize("operator", FITTING)
@given(data=st.data())
def test_tensors_that_do_not_fit_are_refused(sessions, operator, data):
    """Each may have any shape: nothing outside of them is read or written."""
    shapes = FITTING[operator]
    wrong = data.draw(st.dictionaries(st.sampled_from(sorted(shapes)), sizes, max_size=2))
    given = {**shapes, **wrong}.items()
    inputs = {name: np.zeros(shape, kind(operator, name)) for name, shape in given}
    try:
        sessions[operator].run(None, inputs)
    except Exception as error:  # onnxruntime's own errors share no base class
        assert wrong, error


@compiled
def test_a_kernel_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="no kernel 'abacus'"):
        _library.use("abacus")


def test_without_a_compiler_the_words_are_the_same(monkeypatch):
    def words() -> list[str]:
        stream = asr.load(ROOT / "models" / "en-small").stream()
        events = [event for block in read(CLIP, 16_000) for event in stream.push(block, 16_000)]
        return [e.segment.text for e in events + stream.flush() if isinstance(e, asr.Final)]

    heard = words()
    assert heard
    monkeypatch.setattr("asr.session.LIBRARY", None)
    assert words() == heard
