"""The acoustic model as an ONNX graph, node by node.

Written out rather than traced: each recurrent layer is one ONNX node, every name says what it
stands for, time and batch stay free, and nothing depends on the version of an exporter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from asr.nn.frontend import HOP, TAIL

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from asr.nn.model import CtcModel

OPSET = 17
"""The first with LayerNormalization; onnxruntime reads it since 1.13."""
IR_VERSION = 8

GATES = {"gru": (1, 0, 2), "gru_reset_before": (1, 0, 2), "lstm": (0, 3, 1, 2), "rnn": (0,)}
"""ONNX's order of gates (z r h; i o f c), as places in PyTorch's (r z n; i f g o)."""
LAYER_NORM_EPSILON = 1e-5
"""PyTorch's default."""
OPERATORS = {"gru": "GRU", "gru_reset_before": "GRU", "lstm": "LSTM", "rnn": "RNN"}


class GraphBuilder:
    """Collects nodes and weights; every method adds an operator and returns its output's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, value: Any) -> str:
        """A constant, from a tensor, an array or numbers; integers as int64, others as float32."""
        array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.array(value)
        kind = np.int64 if array.dtype.kind == "i" else np.float32
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array, kind), name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Any operator with one output."""
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def last(self, x: str, count: int, axis: int, output: str) -> str:
        """The last `count` places along an axis."""
        return self._slice(x, -count, np.iinfo(np.int64).max, axis, output)

    def _slice(self, x: str, begin: int, end: int, axis: int, output: str) -> str:
        bounds = zip(("begin", "end", "axis"), (begin, end, axis), strict=True)
        names = [self.weight(f"{output}.{name}", [value]) for name, value in bounds]
        return self.add("Slice", [x, *names], output)

    def frontend(self, model: CtcModel) -> str:
        """Normalised log-mel features [N, MELS, F]; see `asr.nn.frontend`."""
        frontend = model.frontend
        samples = self.add("Concat", ["samples", "audio"], "with_tail", axis=1)
        self.last(samples, TAIL, 1, "next_samples")
        later = self._slice(samples, 1, np.iinfo(np.int64).max, 1, "later")
        earlier = self._slice(samples, 0, -1, 1, "earlier")
        differences = self.add("Sub", [later, earlier], "differences")
        channel = self.add(
            "Unsqueeze", [differences, self.weight("channel.axis", [1])], "one_channel"
        )
        kernel = self.weight("frontend.kernel", frontend.kernel)
        spectrum = self.add("Conv", [channel, kernel], "spectrum", strides=[HOP])
        squares = self.add("Mul", [spectrum, spectrum], "squares")
        mels = self.weight("frontend.mels", frontend.mels.repeat(1, 2, 1))
        energies = self.add("Conv", [squares, mels], "energies")
        floor = self.weight("frontend.floor", np.finfo(np.float32).eps)
        features = self.add("Log", [self.add("Max", [energies, floor], "floored")], "features")
        mean = self.weight("mean", model.mean[:, None])
        deviation = self.weight("deviation", model.deviation[:, None])
        centred = self.add("Sub", [features, mean], "centred")
        return self.add("Div", [centred, deviation], "normalised")

    def convolve(self, x: str, conv: nn.Conv1d, name: str) -> str:
        """Convolve [N, C, T] behind the frames of state `name`, and keep the next state."""
        whole = self.add("Concat", [name, x], f"{name}.input", axis=2)
        context = conv.kernel_size[0] - conv.stride[0]
        self.last(whole, context, 2, f"next_{name}")
        inputs = [whole, self.weight(f"{name}.weight", conv.weight)]
        if conv.bias is not None:
            inputs.append(self.weight(f"{name}.bias", conv.bias))
        return self.add(
            "Conv", inputs, f"{name}.output", strides=list(conv.stride), group=conv.groups
        )

    def normalise(self, x: str, norm: nn.Module, name: str) -> str:
        """Layer norm over the last axis."""
        inputs = [
            x,
            *(
                self.weight(f"{name}.{part}", norm.get_parameter(part))
                for part in ("weight", "bias")
            ),
        ]
        return self.add(
            "LayerNormalization", inputs, f"{name}.output", axis=-1, epsilon=LAYER_NORM_EPSILON
        )

    def transpose(self, x: str, axes: tuple[int, ...], output: str) -> str:
        """Permute axes."""
        return self.add("Transpose", [x], output, perm=list(axes))

    def recurrent(self, x: str, cell: nn.Module, kind: str, name: str, states: list[str]) -> str:
        """One layer over [T, N, H]; adds its next states under `NAME.STATE`."""

        def gates(parameter: str) -> NDArray[np.float32]:
            rows = cell.get_parameter(f"{parameter}_l0").detach().cpu().numpy()
            return np.concatenate([np.split(rows, len(GATES[kind]))[i] for i in GATES[kind]])

        size = cell.get_parameter("weight_hh_l0").shape[1]
        bias = np.concatenate([gates("bias_ih"), gates("bias_hh")])
        inputs = [
            x,
            self.weight(f"{name}.W", gates("weight_ih")[None]),
            self.weight(f"{name}.R", gates("weight_hh")[None]),
            self.weight(f"{name}.B", bias[None]),
            "",
            *(f"{state}.{name}" for state in states),
        ]
        outputs = [f"{name}.all", *(f"{name}.{state}" for state in states)]
        attributes: dict[str, Any] = {"hidden_size": size}
        if OPERATORS[kind] == "GRU":
            attributes["linear_before_reset"] = int(kind == "gru")
        self.nodes.append(helper.make_node(OPERATORS[kind], inputs, outputs, name, **attributes))
        axis = self.weight(f"{name}.direction", [1])
        return self.add("Squeeze", [outputs[0], axis], f"{name}.output")


def build(model: CtcModel, head: str, metadata: dict[str, str]) -> onnx.ModelProto:
    """The graph: `audio` [N, S] and states in, `log_probs` [N, T, V] and next states out.

    Args:
        model: what to write.
        head: the CTC head whose log-probabilities it gives.
        metadata: properties of the file.
    """
    encoder, graph = model.encoder, GraphBuilder()
    config = encoder.config
    features = graph.frontend(model)
    x = graph.add("Relu", [graph.convolve(features, encoder.conv1, "conv1")], "conv1.relu")
    x = graph.add("Relu", [graph.convolve(x, encoder.conv2, "conv2")], "conv2.relu")
    x = graph.transpose(x, (2, 0, 1), "layer0.input")
    layers = [f"layer{i}" for i in range(config.layers)]
    memories: list[str] = [name for name in ("hidden", "cell") if name in model.state_shapes]
    for memory in memories:
        parts = [f"{memory}.{layer}" for layer in layers]
        graph.nodes.append(helper.make_node("Split", [memory], parts, f"{memory}.split", axis=0))
    for i, (layer, norm, cell) in enumerate(zip(layers, encoder.norms, encoder.cells, strict=True)):
        if config.lookahead and i == config.layers // 2:
            x = graph.transpose(x, (1, 2, 0), "lookahead.channels")
            x = graph.convolve(x, encoder.lookahead, "lookahead")
            x = graph.transpose(x, (2, 0, 1), "lookahead.frames")
        y = graph.normalise(x, norm, f"{layer}.norm")
        y = graph.recurrent(y, cell, config.cell, layer, memories)
        x = graph.add("Add", [x, y], f"{layer}.residual")
    for memory in memories:
        graph.add("Concat", [f"{layer}.{memory}" for layer in layers], f"next_{memory}", axis=0)
    x = graph.normalise(x, encoder.norm, "norm")
    linear = encoder.heads[head]
    weight, bias = linear.get_parameter("weight"), linear.get_parameter("bias")
    x = graph.add("MatMul", [x, graph.weight("head.weight", weight.T)], "head.product")
    x = graph.add("Add", [x, graph.weight("head.bias", bias)], "logits")
    x = graph.transpose(graph.add("LogSoftmax", [x], "frames", axis=-1), (1, 0, 2), "log_probs")
    return _model(graph, model, len(bias), metadata)


def _model(
    graph: GraphBuilder, model: CtcModel, tokens: int, metadata: dict[str, str]
) -> onnx.ModelProto:
    def tensor(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    states = {
        name: ["streams" if n is None else n for n in shape]
        for name, shape in model.state_shapes.items()
    }
    inputs = [tensor("audio", ["streams", "samples"])]
    inputs += [tensor(name, shape) for name, shape in states.items()]
    outputs = [tensor("log_probs", ["streams", "frames", tokens])]
    outputs += [tensor(f"next_{name}", shape) for name, shape in states.items()]
    proto = helper.make_model(
        helper.make_graph(graph.nodes, "rill", inputs, outputs, graph.weights),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="rill-asr",
    )
    helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto, full_check=True)
    return proto
