"""The acoustic model as an ONNX graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .int8 import Int8Layers
from .layers import Layers

if TYPE_CHECKING:
    import onnx

    from asr.nn.model import CtcModel

    from .builder import Shape

LAYERS = {"fp32": Layers, "int8": Int8Layers}
"""How the layers are written, by precision."""
MEMORIES = ("hidden", "cell")
"""States of the recurrent layers."""


def build(
    model: CtcModel, head: str, metadata: dict[str, str], precision: str = "fp32"
) -> onnx.ModelProto:
    """The graph: `audio` [N, S] and states in, `log_probs` [N, T, V] and next states out.

    Args:
        model: what to write.
        head: the CTC head whose log-probabilities it gives.
        metadata: properties of the file.
        precision: a key of LAYERS.
    """
    graph = LAYERS[precision]()
    features = graph.frontend(model)
    log_probs = encode(graph, features, model, head)
    graph.transpose(log_probs, (1, 0, 2), "log_probs")
    states = {name: state_shape(model, name) for name in model.state_shapes}
    tokens = model.encoder.config.heads[head]
    return graph.model(
        {"audio": ["streams", "samples"], **states},
        {
            "log_probs": ["streams", "frames", tokens],
            **{f"next_{name}": shape for name, shape in states.items()},
        },
        metadata,
    )


def state_shape(model: CtcModel, name: str) -> Shape:
    """Shape of a state, with a name for the number of streams."""
    return ["streams" if n is None else n for n in model.state_shapes[name]]


def encode(graph: Layers, features: str, model: CtcModel, head: str) -> str:
    """Log-probabilities [T, N, V] of standardised features [4 T, N, MELS].

    The graph has to hold each state of the encoder under its name, and holds the next ones as
    `next_NAME` thereafter.
    """
    encoder = model.encoder
    config = encoder.config
    graph.groups = config.groups
    x = graph.subsample(features, encoder.conv1, "conv1", graph.in_floats)
    x = graph.subsample(x, encoder.conv2, "conv2", graph.linear)
    layers = [f"layer{i}" for i in range(config.layers)]
    memories = [name for name in MEMORIES if name in model.state_shapes]
    before = {
        name: graph.node("Split", [name], [f"{layer}.{name}.before" for layer in layers], axis=0)
        for name in memories
    }
    after: dict[str, list[str]] = {name: [] for name in memories}
    for i, (name, norm, cell) in enumerate(zip(layers, encoder.norms, encoder.cells, strict=True)):
        if config.lookahead and i == config.layers // 2:
            x = graph.look_ahead(x, encoder.lookahead, "lookahead")
        states = {memory: before[memory][i] for memory in memories}
        x, ends = graph.recurrent(x, norm, cell, config.cell, name, states)
        for memory, end in zip(memories, ends, strict=True):
            after[memory].append(end)
    for memory, ends in after.items():
        graph.add("Concat", ends, f"next_{memory}", axis=0)
    x = graph.layer_norm(x, encoder.norm, "norm")
    return graph.head(x, encoder.heads[head])
