"""In onnxruntime's own format the model is the same."""

import numpy as np
import pytest
from onnxruntime.tools.reduced_build_config_parser import parse_config

import asr
from asr.acoustic import AcousticModel
from asr.bundle import Bundle
from asr.export.ort import OPERATORS
from asr.export.verify import sound
from asr.nn.cells import CELLS
from tests.models import export_tiny, tiny


@pytest.mark.parametrize("cell", CELLS)
def test_it_computes_the_same(tmp_path, monkeypatch, cell):
    """As the ONNX file does where there are no operators of ours: here they are written out."""
    monkeypatch.setattr("asr.session.LIBRARY", None)
    model = tiny(cell)
    onnx = Bundle.open(export_tiny(tmp_path / "onnx", model, int8=True))
    ort = Bundle.open(export_tiny(tmp_path / "ort", model, int8=True, ort=True))
    assert {path.suffix for path in ort.path.iterdir()} == {".ort", ".json", ".txt", ".config"}
    for precision in ("fp32", "int8"):
        one, other = (AcousticModel(bundle, precision=precision) for bundle in (onnx, ort))
        state = saved = None
        for audio in np.split(sound(2), 5, axis=1):
            want, state = one.step(audio, state)
            got, saved = other.step(audio, saved)
            np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_recogniser_loads_it(tmp_path):
    recognizer = asr.load(export_tiny(tmp_path / "ort", int8=True, ort=True), graph=None)
    assert recognizer.acoustic.precision == "int8"
    assert recognizer.stream().push(sound(1)[0], 16_000)


def test_the_operators_are_listed(tmp_path):
    """As onnxruntime's build reads them, with their types; and without where they come from."""
    folder = export_tiny(tmp_path / "ort", int8=True, ort=True)
    listed, _ = parse_config(str(folder / OPERATORS), enable_type_reduction=True)
    assert listed.keys() == {"ai.onnx", "com.microsoft"}
    standard = set().union(*listed["ai.onnx"].values())
    assert {"GRU", "Scan", "LayerNormalization", "QuantizeLinear", "LogSoftmax"} <= standard
    assert "MatMulIntegerToFloat" in listed["com.microsoft"][1]
    text = (folder / OPERATORS).read_text()
    assert 'QuantizeLinear{"outputs": {"0": ["uint8_t"]}}' in text
    assert str(tmp_path) not in text
