"""The layers of the model in ONNX operators, in 32-bit floats and in 8-bit integers.

Written out rather than traced: every name says what it stands for, time and batch stay free, and
nothing depends on the version of an exporter. Between layers there are frames [T, N, C].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto

from asr.nn.frontend import HOP, TAIL

from .builder import MICROSOFT, TO_THE_END, GraphBuilder
from .cells import STEPS, Step
from .quantise import ACTIVATION_STEP, ZERO, quantise_8_bit, quantise_16_bit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from asr.nn.model import CtcModel

GATES = {"gru": (1, 0, 2), "gru_reset_before": (1, 0, 2), "lstm": (0, 3, 1, 2), "rnn": (0,)}
"""ONNX's order of gates (z r h; i o f c), as places in PyTorch's (r z n; i f g o)."""
OPERATORS = {"gru": "GRU", "gru_reset_before": "GRU", "lstm": "LSTM", "rnn": "RNN"}
LAYER_NORM_EPSILON = 1e-5
"""PyTorch's default."""
SILENT = 1e-10
"""Added to the loudest activation of a frame, which is divided by."""


class Layers(GraphBuilder):
    """The layers in 32-bit floats; a recurrent layer is one node."""

    def stored(self, name: str, value: Tensor) -> str:
        """Weights that are computed with in 32-bit floats."""
        return self.weight(name, value)

    def frontend(self, model: CtcModel) -> str:
        """Log-mel features [N, MELS, F] of `audio`; see `asr.nn.frontend`."""
        samples = self.add("Concat", ["samples", "audio"], "with_tail", axis=1)
        self.part(samples, 1, "next_samples", begin=-TAIL)
        later = self.part(samples, 1, "later", begin=1)
        earlier = self.part(samples, 1, "earlier", end=-1)
        differences = self.add("Sub", [later, earlier], "differences")
        axis = self.weight("channel.axis", [1])
        channel = self.add("Unsqueeze", [differences, axis], "one_channel")
        kernel = self.stored("frontend.kernel", model.frontend.kernel)
        spectrum = self.add("Conv", [channel, kernel], "spectrum", strides=[HOP])
        squares = self.add("Mul", [spectrum, spectrum], "squares")
        mels = self.stored("frontend.mels", model.frontend.mels)
        both = self.add("Concat", [mels, mels], "frontend.both_mels", axis=1)
        energies = self.add("Conv", [squares, both], "energies")
        floor = self.weight("frontend.floor", np.finfo(np.float32).eps)
        return self.add("Log", [self.add("Max", [energies, floor], "floored")], "features")

    def standardise(self, features: str, model: CtcModel) -> str:
        """Features [N, MELS, F] with the mean and variance of the training data taken out."""
        mean = self.weight("mean", model.mean[:, None])
        deviation = self.weight("deviation", model.deviation[:, None])
        return self.add(
            "Div", [self.add("Sub", [features, mean], "centred"), deviation], "normalised"
        )

    def convolve(self, x: str, conv: nn.Conv1d, name: str) -> str:
        """Convolve [N, C, T] behind the frames of state `name`, keep the next state, rectify."""
        whole = self.add("Concat", [name, x], f"{name}.input", axis=2)
        self.part(whole, 2, f"next_{name}", begin=conv.stride[0] - conv.kernel_size[0])
        weight = self.stored(f"{name}.weight", conv.weight)
        bias = self.weight(f"{name}.bias", conv.get_parameter("bias"))
        y = self.add("Conv", [whole, weight, bias], f"{name}.sum", strides=list(conv.stride))
        return self.add("Relu", [y], f"{name}.output")

    def subsample(self, x: str, conv: nn.Conv1d, name: str) -> str:
        """Convolve [N, C, 2 T] likewise, to frames [T, N, H]."""
        return self.transpose(self.convolve(x, conv, name), (2, 0, 1), f"{name}.frames")

    def look_ahead(self, x: str, conv: nn.Conv1d, name: str) -> str:
        """Weigh each frame with those after it, channel by channel, and keep the next state.

        A sum of products: onnxruntime's convolution of single channels is several times slower.
        """
        context = conv.kernel_size[0] - 1
        before = self.transpose(name, (2, 0, 1), f"{name}.before")
        whole = self.add("Concat", [before, x], f"{name}.input", axis=0)
        after = self.part(whole, 0, f"{name}.after", begin=-context)
        self.transpose(after, (1, 2, 0), f"next_{name}")
        total = ""
        for i, tap in enumerate(conv.weight[:, 0].T):
            end = i - context if i < context else TO_THE_END
            frames = self.part(whole, 0, f"{name}.frames{i}", i, end)
            weight = self.weight(f"{name}.weight{i}", tap)
            product = self.add("Mul", [frames, weight], f"{name}.product{i}")
            total = self.add("Add", [total, product], f"{name}.sum{i}") if i else product
        return total

    def layer_norm(self, x: str, norm: nn.Module, name: str) -> str:
        """Layer norm over the last axis."""
        parts = [self.weight(f"{name}.{p}", norm.get_parameter(p)) for p in ("weight", "bias")]
        return self.add(
            "LayerNormalization", [x, *parts], f"{name}.output", epsilon=LAYER_NORM_EPSILON
        )

    def recurrent(
        self, x: str, y: str, cell: nn.Module, kind: str, name: str, states: dict[str, str]
    ) -> tuple[str, list[str]]:
        """A recurrent layer over y and the residual x, both [T, N, H].

        Args:
            x: is added to the output.
            y: input of the layer.
            cell: its weights, named as PyTorch's.
            kind: of cell, a key of OPERATORS.
            name: of the layer.
            states: [1, N, H] by name: `hidden`, and for an LSTM `cell`.

        Returns:
            the sum, and the next states.
        """

        def gates(parameter: str) -> NDArray[np.float32]:
            rows = cell.get_parameter(f"{parameter}_l0").detach().cpu().numpy()
            return np.concatenate([np.split(rows, len(GATES[kind]))[i] for i in GATES[kind]])

        bias = np.concatenate([gates("bias_ih"), gates("bias_hh")])
        inputs = [
            y,
            self.weight(f"{name}.W", gates("weight_ih")[None]),
            self.weight(f"{name}.R", gates("weight_hh")[None]),
            self.weight(f"{name}.B", bias[None]),
            "",
            *states.values(),
        ]
        attributes: dict[str, Any] = {"hidden_size": cell.get_parameter("weight_hh_l0").shape[1]}
        if OPERATORS[kind] == "GRU":
            attributes["linear_before_reset"] = int(kind == "gru")
        outputs = [f"{name}.all", *(f"{name}.{state}" for state in states)]
        every, *ends = self.node(OPERATORS[kind], inputs, outputs, **attributes)
        axis = self.weight("direction.axis", [1])
        outputs_only = self.add("Squeeze", [every, axis], f"{name}.output")
        return self.add("Add", [x, outputs_only], f"{name}.residual"), ends

    def head(self, x: str, linear: nn.Module) -> str:
        """`log_probs` [N, T, V] of frames [T, N, H]."""
        weight = self.stored("head.weight", linear.get_parameter("weight").T)
        bias = self.weight("head.bias", linear.get_parameter("bias"))
        x = self.add("Add", [self.add("MatMul", [x, weight], "head.product"), bias], "logits")
        return self.add("LogSoftmax", [x], "head.log_probs", axis=-1)


class Int8Layers(Layers):
    """The layers with their matrix products in 8-bit integers.

    A hidden state is in [-1, 1] by its equation, so its scale is fixed; every other input of a
    product is divided, frame by frame and stream by stream, by its largest value. So neither the
    cut of a stream nor the streams beside it have a part in what it gives.

    Of a step's time nearly half goes into the number of its nodes, so the weights on a state have
    one scale, which is part of the product; other weights have one for each column.

    onnxruntime has no GRU in integers. Here a cell is written out as the body of a Scan, which runs
    for any number of frames; what does not depend on the frame before is computed ahead, for all
    frames at once. What stays in floats is stored in 16 bits.
    """

    def stored(self, name: str, value: Tensor) -> str:
        """Weights that are stored in 16 bits; onnxruntime makes floats of them as it loads them."""
        integers, scale = quantise_16_bit(value.detach().cpu().numpy())
        floats = self.add(
            "Cast",
            [self.weight(f"{name}.integers", integers)],
            f"{name}.cast",
            to=TensorProto.FLOAT,
        )
        return self.add("Mul", [floats, self.weight(f"{name}.scale", scale)], name)

    def in_8_bits(self, x: str) -> str:
        """What is in [-1, 1], as integers."""
        step = self.weight("activation.step", ACTIVATION_STEP)
        return self.add("QuantizeLinear", [x, step, self._zero()], f"{x}.integers")

    def _zero(self) -> str:
        return self.weight("activation.zero", np.uint8(ZERO))

    def product(
        self, x: str, weight: Tensor, name: str, output: str, bias: Tensor | None = None
    ) -> str:
        """The product of `in_8_bits` activations and the transpose of a weight matrix.

        All its columns have one scale: onnxruntime is a third slower with a scale for each.
        """
        integers, scale = quantise_8_bit(weight.detach().cpu().numpy().T, columns=False)
        return self._product(x, integers, self.weight(f"{name}.scale", scale), name, output, bias)

    def _product(
        self,
        x: str,
        integers: NDArray[np.int8],
        scale: str,
        name: str,
        output: str,
        bias: Tensor | None = None,
    ) -> str:
        inputs = [
            x,
            self.weight(f"{name}.weight", integers),
            self.weight("activation.step", ACTIVATION_STEP),
            scale,
            self._zero(),
            "",
        ]
        if bias is not None:
            inputs.append(self.weight(f"{name}.bias", bias))
        return self.add("MatMulIntegerToFloat", inputs, output, domain=MICROSOFT)

    def linear(self, x: str, weight: Tensor, bias: Tensor, name: str) -> str:
        """`x W' + b` for frames of any size."""
        size = self.add("ReduceMax", [self.add("Abs", [x], f"{x}.abs")], f"{x}.max", axes=[-1])
        size = self.add("Add", [size, self.weight("silent", SILENT)], f"{x}.size")
        unit = self.add("Div", [x, size], f"{x}.unit")
        integers, scales = quantise_8_bit(weight.detach().cpu().numpy().T)
        one = self.weight("weight.step", 1.0)
        y = self._product(self.in_8_bits(unit), integers, one, name, f"{name}.of_unit")
        y = self.add("Mul", [y, self.weight(f"{name}.scale", scales)], f"{name}.scaled")
        y = self.add("Mul", [y, size], f"{name}.product")
        return self.add("Add", [y, self.weight(f"{name}.bias", bias)], f"{name}.linear")

    def subsample(self, x: str, conv: nn.Conv1d, name: str) -> str:
        """As a product of a matrix and three neighbouring frames each."""
        whole = self.add("Concat", [name, x], f"{name}.input", axis=2)
        self.part(whole, 2, f"next_{name}", begin=-1)
        whole = self.transpose(whole, (2, 0, 1), f"{name}.frames")
        bounds = (0, -1), (1, TO_THE_END), (2, TO_THE_END)
        taps = [self.part(whole, 0, f"{name}.tap{b}", b, e, step=2) for b, e in bounds]
        x = self.add("Concat", taps, f"{name}.taps", axis=-1)
        weight = conv.weight.permute(0, 2, 1).flatten(1)
        y = self.linear(x, weight, conv.get_parameter("bias"), name)
        return self.add("Relu", [y], f"{name}.output")

    def recurrent(
        self, x: str, y: str, cell: nn.Module, kind: str, name: str, states: dict[str, str]
    ) -> tuple[str, list[str]]:
        """A Scan over the frames."""
        W, U, b, c = (
            cell.get_parameter(f"{parameter}_l0")
            for parameter in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        a = self.linear(y, W, b, f"{name}.W")
        gates, write = STEPS[kind]
        parts = self.divided(a, [count * U.shape[1] for count in gates])
        inputs = {f"{part}.step": part for part in parts}
        axis = self.weight("state.axis", [0])
        begin = {
            f"{name}.{state}.step": self.add("Squeeze", [tensor, axis], f"{name}.{state}.begin")
            for state, tensor in states.items()
        }
        body = self.body()
        after = write(Step(body, name, U, c), *inputs, *begin)
        total = body.add("Add", [f"{name}.x", after[0]], f"{name}.residual.step")
        ends, x = self.scan(body, begin, {f"{name}.x": x, **inputs}, after, total)
        ends = [
            self.add("Unsqueeze", [end, axis], f"{name}.{state}")
            for end, state in zip(ends, states, strict=True)
        ]
        return x, ends
