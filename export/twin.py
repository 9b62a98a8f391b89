"""The graph that sherpa-onnx takes for a streaming Zipformer CTC model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from asr.nn.encoder import SUBSAMPLING
from asr.nn.frontend import FLOOR, MELS

from .graph import LAYERS, encode

if TYPE_CHECKING:
    import onnx

    from asr.nn.model import CtcModel

    from .builder import Shape
    from .layers import Layers

CHUNK = 16
"""Feature frames that sherpa-onnx gives at once: 160 ms."""
EMBEDDING = (128, 3, 19)
"""Shape of a state that a Zipformer has at its front; it holds what is before the convolutions."""
IMPOSSIBLE = -100.0
"""Log-probability of all tokens but blank in the lead-in of the look-ahead."""


def build_twin(
    model: CtcModel, head: str, metadata: dict[str, str], precision: str = "fp32"
) -> onnx.ModelProto:
    """The graph: features [N, CHUNK, MELS] and states in, log-probabilities and states out.

    Args:
        model: what to write.
        head: the CTC head whose log-probabilities it gives.
        metadata: further properties of the file.
        precision: a key of LAYERS.
    """
    graph = LAYERS[precision]()
    inputs = _inputs(model)
    features = _unpacked(graph, model, graph.transpose("features", (1, 0, 2), "features.frames"))
    log_probs = graph.transpose(encode(graph, features, model, head), (1, 0, 2), "log_probs.all")
    _without_lead_in(graph, model, head, log_probs)
    _packed(graph, model)
    for name in inputs:
        if name.startswith("unused"):
            graph.add("Identity", [name], f"next_{name}")
    states = list(inputs)[1:]
    tokens = model.encoder.config.heads[head]
    return graph.model(
        inputs,
        {
            "log_probs": ["streams", "frames", tokens],
            **{f"next_{name}": inputs[name] for name in states},
        },
        {**metadata, **_metadata(model)},
        integers=("frames", "next_frames"),
    )


def _inputs(model: CtcModel) -> dict[str, Shape]:
    """Name and shape of each input, in the order in which sherpa-onnx gives them."""
    config = model.encoder.config
    layers, hidden, ahead = config.layers, config.hidden, config.lookahead
    is_lstm = "cell" in model.state_shapes
    value: Shape = [layers, "streams", hidden if is_lstm else 1]
    conv: Shape = ["streams", hidden, ahead or 1]
    return {
        "features": ["streams", CHUNK, MELS],
        "hidden": [layers, "streams", hidden],
        "unused_attention": [1, "streams", layers, 3 * hidden // 4],
        "cell" if is_lstm else "unused_value1": value,
        "unused_value2": value,
        "lookahead" if ahead else "unused_conv1": conv,
        "unused_conv2": conv,
        "contexts": ["streams", *EMBEDDING],
        "frames": ["streams"],
    }


def _metadata(model: CtcModel) -> dict[str, str]:
    """The sizes from which sherpa-onnx makes its states, as those of a Zipformer."""
    config = model.encoder.config
    values: dict[str, Any] = {
        "model_type": "zipformer2",
        "version": 1,
        "model_author": "rill-asr",
        "comment": "a recurrent model in the interface of a Zipformer",
        "T": CHUNK,
        "decode_chunk_len": CHUNK,
        "encoder_dims": config.hidden,
        "query_head_dims": config.hidden,
        "value_head_dims": config.hidden if "cell" in model.state_shapes else 1,
        "num_heads": 1,
        "num_encoder_layers": 1,
        "cnn_module_kernels": 2 * max(config.lookahead, 1) + 1,
        "left_context_len": config.layers,
    }
    return {name: str(value) for name, value in values.items()}


def _contexts(model: CtcModel) -> dict[str, int]:
    """What `contexts` begins with, and how many floats each is."""
    return {"feature": MELS, "conv1": MELS, "conv2": model.encoder.config.channels}


def _unpacked(graph: Layers, model: CtcModel, features: str) -> str:
    """The states in `contexts` by their names, and the standardised features.

    Rill's features are Kaldi's a frame later. What is kept of the last is how far it is above
    silence, so that a stream begins in silence.
    """
    flat = graph.add("Flatten", ["contexts"], "contexts.flat")
    begin = 0
    axis = graph.weight("context.axis", [2])
    for name, size in _contexts(model).items():
        part = graph.part(flat, 1, f"{name}.flat", begin, begin + size)
        graph.add("Unsqueeze", [part, axis], name)
        begin += size
    floor = graph.weight("silence", FLOOR)
    above = graph.behind("feature", graph.add("Sub", [features, floor], "features.above"), 1)
    late = graph.add("Add", [graph.part(above, 0, "features.late", 0, -1), floor], "features.again")
    return graph.standardise(late, *graph.statistics(model))


def _packed(graph: Layers, model: CtcModel) -> None:
    sizes = _contexts(model)
    flat = [graph.add("Flatten", [f"next_{name}"], f"next_{name}.flat") for name in sizes]
    used = graph.add("Concat", flat, "next_contexts.used", axis=1)
    rest = int(np.prod(EMBEDDING)) - sum(sizes.values())
    pads = graph.weight("contexts.pads", [0, 0, 0, rest])
    padded = graph.add("Pad", [used, pads], "next_contexts.flat")
    shape = graph.weight("contexts.shape", [-1, *EMBEDDING])
    graph.add("Reshape", [padded, shape], "next_contexts")


def _without_lead_in(graph: Layers, model: CtcModel, head: str, log_probs: str) -> None:
    """Make blanks of the first frames, in which the look-ahead has nothing yet."""
    config = model.encoder.config
    steps = CHUNK // SUBSAMPLING
    axis = graph.weight("frame.axis", [1])
    seen = graph.add("Unsqueeze", ["frames", axis], "frames.seen")
    numbers = graph.add("Add", [seen, graph.weight("frame.numbers", range(steps))], "numbers")
    early = graph.add(
        "Less", [numbers, graph.weight("lookahead.frames", config.lookahead)], "early"
    )
    early = graph.add("Unsqueeze", [early, graph.weight("token.axis", [2])], "lead_in")
    blank = np.full(config.heads[head], IMPOSSIBLE)
    blank[0] = 0
    graph.add("Where", [early, graph.weight("blank", blank), log_probs], "log_probs")
    graph.add("Add", ["frames", graph.weight("frames.step", steps)], "next_frames")
