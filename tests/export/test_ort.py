"""In onnxruntime's own format the model is the same."""

import numpy as np
import pytest

import asr
from asr.acoustic import AcousticModel
from asr.bundle import Bundle
from asr.export.ort import OPERATORS
from asr.export.verify import sound
from asr.nn.cells import CELLS
from tests.models import export_tiny, tiny


@pytest.mark.parametrize("cell", CELLS)
def test_it_computes_the_same(tmp_path, cell):
    model = tiny(cell)
    onnx = Bundle.open(export_tiny(tmp_path / "onnx", model, int8=True))
    ort = Bundle.open(export_tiny(tmp_path / "ort", model, int8=True, ort=True))
    assert {path.suffix for path in ort.path.iterdir()} == {".ort", ".json", ".txt", ".config"}
    for precision in ("fp32", "int8"):
        want, _ = AcousticModel(onnx, precision=precision).step(sound(2))
        got, _ = AcousticModel(ort, precision=precision).step(sound(2))
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_recogniser_loads_it(tmp_path):
    recognizer = asr.load(export_tiny(tmp_path / "ort", int8=True, ort=True), graph=None)
    assert recognizer.acoustic.precision == "int8"
    assert recognizer.stream().push(sound(1)[0], 16_000)


def test_the_operators_are_listed(tmp_path):
    """With the types that they are used with, and without where the model was made."""
    folder = export_tiny(tmp_path / "ort", int8=True, ort=True)
    lines = (folder / OPERATORS).read_text().splitlines()
    listed = {}
    for line in lines:
        domain, _, names = line.split(";", 2)
        listed.setdefault(domain, []).append(names)
    assert listed.keys() == {"ai.onnx", "com.microsoft"}
    standard = ",".join(listed["ai.onnx"])
    for operator in ("GRU", "Scan", "LayerNormalization", "QuantizeLinear", "LogSoftmax"):
        assert operator in standard
    assert "MatMulIntegerToFloat" in listed["com.microsoft"][0]
    assert str(tmp_path) not in "".join(lines)
