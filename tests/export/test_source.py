"""A model folder is as good a source as the checkpoint it came from."""

import numpy as np
import onnx
import pytest
import torch

from asr.decoding.lexicon import TOKENS
from asr.errors import ExportError, ModelError
from asr.export import half
from asr.export.source import Source
from asr.nn.cells import CELLS
from tests.models import export_tiny, pair, tiny
from tests.test_bundle import rewrite


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("make", "lookahead"), [(tiny, 0), (tiny, 3), (pair, 3)])
def test_a_folder_gives_its_model_back(tmp_path, cell, make, lookahead):
    model = make(cell, lookahead)
    folder = export_tiny(tmp_path / "tiny", model, version="7", search={"beam": 9.0})
    (folder / "README.md").write_text("the card")
    source = Source.open(folder)
    assert source.model.encoder.config.cell == cell
    assert source.tokens == TOKENS
    assert source.facts["version"] == "7"
    assert source.facts["search"] == {"beam": 9.0}
    assert source.card == folder / "README.md"
    want = model.state_dict()
    for name, value in source.model.state_dict().items():
        torch.testing.assert_close(value, want[name], rtol=0, atol=0)


def test_weights_in_16_bits_take_half_the_room_and_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr(half, "LEAST", 64)
    whole, model = tiny(), half.halved(tiny())
    size = (export_tiny(tmp_path / "whole", whole) / "model.onnx").stat().st_size
    folder = export_tiny(tmp_path / "half", model)
    stored = onnx.load(folder / "model.onnx").graph.initializer
    halves = [weight for weight in stored if weight.data_type == onnx.TensorProto.FLOAT16]
    saved = sum(2 * np.prod(weight.dims) for weight in halves)
    assert saved > 0.8 * sum(2 * weight.numel() for weight in model.parameters())
    assert size - (folder / "model.onnx").stat().st_size == pytest.approx(saved, rel=0.2)
    before, want = whole.state_dict(), model.state_dict()
    for name, value in Source.open(folder).model.state_dict().items():
        torch.testing.assert_close(value, want[name], rtol=0, atol=0)
        torch.testing.assert_close(value, before[name], rtol=1e-3, atol=1e-6)


def test_a_checkpoint_gives_its_priors(tmp_path):
    tiny().save(tmp_path / "model.pt", priors=[0.5, 0.5])
    source = Source.open(tmp_path / "model.pt")
    assert source.priors == (0.5, 0.5)
    assert not source.facts


def test_a_model_of_another_make_is_refused(tmp_path):
    folder = export_tiny(tmp_path / "tiny")
    proto = onnx.load(folder / "model.onnx")
    for weight in proto.graph.initializer:
        if weight.name == "layer1.R":
            array = onnx.numpy_helper.to_array(weight)
            weight.CopyFrom(onnx.numpy_helper.from_array(np.tile(array, 2), weight.name))
    rewrite(folder, "model.onnx", proto.SerializeToString())
    with pytest.raises(ExportError, match="export from the checkpoint"):
        Source.open(folder)
    ort = export_tiny(tmp_path / "ort", ort=True)
    with pytest.raises(ExportError, match=r"model\.ort is no model"):
        Source.open(ort)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(ModelError):
        Source.open(tmp_path)
    (tmp_path / "file").write_text("nothing")
    with pytest.raises(ModelError):
        Source.open(tmp_path / "file")
