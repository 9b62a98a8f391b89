"""The language model as an ONNX graph: one word further, for any number of sentences at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from onnx import TensorProto

from asr.decoding.language import END, FORMAT, LanguageModel
from asr.errors import ExportError

from .int8 import Int8Layers
from .quantise import quantise_8_bit

if TYPE_CHECKING:
    from pathlib import Path

    from asr.nn.language import LanguageModel as Trained

TOLERANCE = 0.1
"""How far the scores of words may be off torch's on average, in nats; they are in 8 bits."""


def export(model: Trained, target: Path) -> float:
    """Write a language model and verify it.

    Args:
        model: the trained model.
        target: the file, such as `language.onnx`.

    Returns:
        how far scores of words are off torch's on average, in nats.

    Raises:
        ExportError: when that is too far. Nothing is written then.
    """
    content = build(model).SerializeToString()
    difference = _difference(model, LanguageModel(content))
    if not difference <= TOLERANCE:
        raise ExportError(
            f"the exported language model is {difference:.2g} nats off torch, allowed are "
            f"{TOLERANCE}; nothing was written"
        )
    target.write_bytes(content)
    return difference


def build(model: Trained) -> onnx.ModelProto:
    """The graph.

    In: `word` [N] ids, `state` [N, H] before them; `place` [M] of 0 to N - 1, `following` [M] ids.
    Out: `next_state` [N, H]; `score` [M], of each following word behind the word at its place.
    """
    graph = Int8Layers()
    integers, scale = quantise_8_bit(model.table.weight.detach().numpy().T)
    rows = graph.weight("table", np.ascontiguousarray(integers.T))
    steps = graph.weight("table.scale", scale[:, None])

    def looked_up(ids: str) -> str:
        row = graph.add("Gather", [rows, ids], f"{ids}.integers")
        row = graph.add("Cast", [row], f"{ids}.unscaled", to=TensorProto.FLOAT)
        return graph.add(
            "Mul", [row, graph.add("Gather", [steps, ids], f"{ids}.scale")], f"{ids}.row"
        )

    W, U, b, c = model.cell.parameters()
    gates = graph.linear(looked_up("word"), W, b, "cell.W")
    frames = graph.add("Unsqueeze", [gates, graph.weight("frame.axis", [0])], "gates")
    _, state = graph.gru(frames, "state", U, c, "cell")
    graph.add("Identity", [state], "next_state")
    expected = graph.linear("next_state", model.project.weight, model.project.bias, "project")
    expected = graph.add("Gather", [expected, "place"], "expected.place")
    products = graph.add("Mul", [expected, looked_up("following")], "products")
    axis = graph.weight("last.axis", [1])
    total = graph.add("ReduceSum", [products, axis], "total", keepdims=0)
    bias = graph.add("Gather", [graph.weight("bias", model.bias), "following"], "following.bias")
    graph.add("Add", [total, bias], "score")
    size = model.config.hidden
    return graph.model(
        {"word": ["N"], "state": ["N", size], "place": ["M"], "following": ["M"]},
        {"next_state": ["N", size], "score": ["M"]},
        {"format": str(FORMAT), "words": "\n".join(model.words)},
        integers=("word", "place", "following"),
    )


def _difference(model: Trained, exported: LanguageModel) -> float:
    rng = np.random.default_rng(0)
    size = len(model.words) + 2
    sentences = [tuple(rng.integers(2, size, 12).tolist()) for _ in range(20)]
    got = exported.scores(sentences)
    ids = torch.tensor([[END, *sentence, END] for sentence in sentences])
    with torch.inference_mode():
        want = model.scores(ids[:, :-1], ids[:, 1:]).sum(1).numpy()
    return float(np.abs(got - want).mean()) / 13
