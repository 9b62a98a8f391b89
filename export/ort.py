"""onnxruntime's own format, for builds of it that hold no more than the model needs."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import onnxruntime

OPERATORS = "required_operators.config"


def convert(content: bytes) -> bytes:
    """An ONNX file in the ORT format, optimised for any processor."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.ort"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(path)
        options.add_session_config_entry("session.save_model_format", "ORT")
        # a level more would lay out the weights for this processor
        level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.graph_optimization_level = level
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return path.read_bytes()


def write_operators(models: list[Path], target: Path) -> None:
    """Write which operators and types a reduced build has to include to run some `.ort` files.

    The file is for `build.sh --include_ops_by_config` of onnxruntime.
    """
    from onnxruntime.tools.ort_format_model import create_config_from_models

    logging.getLogger("ort_format_model.utils").setLevel(logging.WARNING)
    create_config_from_models(models, target, enable_type_reduction=True)
    lines = target.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith("#")]  # where the models were
    target.write_text("\n".join(kept) + "\n", encoding="utf-8")
