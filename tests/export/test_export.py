"""What is exported computes what torch computes, and nothing else is ever written."""

import json

import numpy as np
import onnx
import pytest
import torch

from asr.acoustic import AcousticModel
from asr.bundle import Bundle
from asr.decoding.lexicon import TOKENS
from asr.errors import ExportError
from asr.export import folder as export_folder
from asr.export.folder import export
from asr.export.graph import build
from asr.export.verify import FRAMES, TOLERANCE, sound, verify
from asr.nn.cells import CELLS
from tests.models import export_tiny, pair, tiny


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("make", "lookahead"), [(tiny, 0), (tiny, 3), (pair, 3)])
def test_the_folder_computes_what_torch_computes(tmp_path, cell, make, lookahead):
    model = make(cell, lookahead)
    runtime = AcousticModel(Bundle.open(export_tiny(tmp_path / "model", model)))
    audio = sound(3)
    with torch.inference_mode():
        outputs, _ = model.step(torch.from_numpy(audio), model.start(3))
    log_probs, _ = runtime.step(audio)
    assert log_probs.shape == (3, FRAMES, len(TOKENS))
    np.testing.assert_allclose(log_probs, outputs["phones"].numpy(), atol=TOLERANCE)


@pytest.mark.parametrize(("cell", "operator"), [("gru", "GRU"), ("lstm", "LSTM"), ("rnn", "RNN")])
def test_a_recurrent_layer_is_one_node(cell, operator):
    graph = build(tiny(cell), "phones", {}).graph
    assert [node.op_type for node in graph.node].count(operator) == 3


def flip_reset(proto: onnx.ModelProto) -> None:
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.name == "linear_before_reset":
                attribute.i = 1 - attribute.i


def swap_gates(proto: onnx.ModelProto) -> None:
    for weight in proto.graph.initializer:
        if weight.name.endswith(".W"):
            array = onnx.numpy_helper.to_array(weight)
            weight.CopyFrom(onnx.numpy_helper.from_array(np.roll(array, 16, axis=1), weight.name))


def forget_lookahead(proto: onnx.ModelProto) -> None:
    for node in proto.graph.node:
        if list(node.output) == ["next_lookahead"]:
            node.op_type = "Identity"
            del node.input[:], node.attribute[:]
            node.input.append("lookahead")


@pytest.mark.parametrize("cell", ["gru", "gru_reset_before"])
@pytest.mark.parametrize("damage", [flip_reset, swap_gates, forget_lookahead])
def test_a_wrong_export_is_refused_and_nothing_is_written(tmp_path, monkeypatch, cell, damage):
    def build_wrong(*arguments):
        proto = build(*arguments)
        damage(proto)
        return proto

    monkeypatch.setattr(export_folder, "build", build_wrong)
    with pytest.raises(ExportError, match="off torch"):
        export_tiny(tmp_path / "model", tiny(cell))
    assert list(tmp_path.iterdir()) == []


def test_verify_gives_the_largest_difference():
    model = tiny()
    content = build(model, "phones", {}).SerializeToString()
    assert 0 < verify(content, model, "phones") < TOLERANCE


def test_the_same_model_gives_the_same_file():
    files = {build(tiny(), "phones", {"name": "x"}).SerializeToString() for _ in range(2)}
    assert len(files) == 1


def test_a_model_folder_is_replaced_and_its_card_kept(tmp_path):
    target = export_tiny(tmp_path / "model")
    (target / "README.md").write_text("the card")
    (target / "leftover").write_text("of the old model")
    before = Bundle.open(target).identity
    export_tiny(target, tiny(seed=1))
    assert Bundle.open(target).identity != before
    assert (target / "README.md").read_text() == "the card"
    assert not (target / "leftover").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("config", [None, "{}", "not json", '{"model_type": "bert"}'])
def test_a_folder_of_something_else_is_left_alone(tmp_path, config):
    target = tmp_path / "thesis"
    target.mkdir()
    (target / "thesis.tex").write_text("years of work")
    if config is not None:
        (target / "config.json").write_text(config)
    with pytest.raises(ExportError, match="no model folder"):
        export_tiny(target)
    assert (target / "thesis.tex").read_text() == "years of work"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("shipped", ["card", "graph"])
def test_a_file_to_ship_that_is_missing_is_named(tmp_path, shipped):
    missing = tmp_path / "nowhere"
    files = {"card": missing} if shipped == "card" else {"graphs": {"dictation": missing}}
    with pytest.raises(ExportError, match=r"no file .*nowhere"):
        export_tiny(tmp_path / "model", **files)
    assert list(tmp_path.iterdir()) == []


def test_the_file_says_what_it_is(tmp_path):
    proto = onnx.load(export_tiny(tmp_path / "model", version="7") / "model.onnx")
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    assert properties == {"name": "model", "version": "7", "license": "Apache-2.0"}


def test_tokens_that_do_not_fit_the_head_are_refused(tmp_path):
    facts = {"version": "1", "language": "en", "license": "MIT", "data": "none"}
    with pytest.raises(ExportError, match="do not fit"):
        export(tiny(), TOKENS[:-1], tmp_path / "model", **facts)


def test_settings_name_what_the_runtime_needs(tmp_path):
    config = json.loads((export_tiny(tmp_path / "model") / "config.json").read_text())
    assert config["sample_rate"] == 16_000
    assert config["frame"] == 640
    assert config["delay"] == 2
    assert config["states"]["hidden"] == [3, None, 16]
    assert config["files"].keys() == {"model.onnx", "tokens.txt"}
