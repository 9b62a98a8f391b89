"""The layers of the model in ONNX operators, their matrix products in 8-bit integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from onnx import TensorProto

from asr.nn.cells import GroupedCell
from asr.nn.frontend import povey_window
from asr.operators import DOMAIN

from .builder import MICROSOFT
from .cells import STEPS, Step
from .layers import Layers, matrices
from .quantise import ACTIVATION_STEP, ZERO, in_blocks, quantise_8_bit, quantise_16_bit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from asr.nn.model import CtcModel

    from .builder import GraphBuilder

SILENT = 1e-10
"""Added to the loudest activation of a frame, which is divided by."""
WEIGHTS = ("weight", "sums", "scale", "bias")
"""What belongs to a matrix."""
OF_INPUT, OF_STATE = ([f"{matrix}.{of}" for of in WEIGHTS] for matrix in "WU")
LAYER = ("x", "state", "norm.weight", "norm.bias", *OF_INPUT, *OF_STATE)
"""Inputs of a recurrent layer, the last of which belong to W and U."""


class Int8Layers(Layers):
    """The layers with their matrix products in 8-bit integers.

    A hidden state is in [-1, 1] by its equation, so its scale is fixed; every other input of a
    product is divided, frame by frame and stream by stream, by its largest value. So neither the
    cut of a stream nor the streams beside it have a part in what it gives.

    The operators are those of `asr.operators`. For whoever runs the model without them it says what
    they are made of. There a cell is the body of a Scan, which runs for any number of frames; what
    does not depend on the frame before is computed ahead, for all frames at once. Of a step's time
    nearly half goes into the number of its nodes then, so the weights on a state have one scale,
    which is part of the product; other weights have one for each column.

    What stays in floats is stored in 16 bits.
    """

    def stored(self, name: str, value: NDArray[np.float32]) -> str:
        """Weights that are stored in 16 bits; onnxruntime makes floats of them as it loads them."""
        integers, scale = quantise_16_bit(value)
        floats = self.add(
            "Cast",
            [self.weight(f"{name}.integers", integers)],
            f"{name}.cast",
            to=TensorProto.FLOAT,
        )
        return self.add("Mul", [floats, self.weight(f"{name}.scale", scale)], name)

    def frontend(self, model: CtcModel) -> str:
        """Standardised log-mel features [F, N, MELS] of `audio`."""
        mean, deviation = self.statistics(model)
        inputs = {
            "samples": "samples",
            "audio": "audio",
            "window": self.weight("frontend.window", povey_window().float()),
            **{name: self.kernel(model, name) for name in ("cosines", "sines", "mels")},
            "mean": mean,
            "deviation": deviation,
        }
        body = Layers()
        features = body.standardise(body.log_mel(lambda name: name), "mean", "deviation")
        outputs = ["normalised", "next_samples"]
        return self._own("LogMel", inputs, outputs, body, [features, "next_samples"])[0]

    def unfold(self, x: str, name: str, groups: int) -> str:
        """Each second frame of x [2 T, N, C] between its neighbours: [T, N, 3 C], or in groups."""
        body = Layers()
        results = [body.unfold("x", "state", 1), "next_state"]
        outputs = [f"{name}.taps", f"next_{name}"]
        x = self._own("Unfold", {"x": x, "state": name}, outputs, body, results)[0]
        if groups == 1:
            return x
        taps = self.reshape(x, (0, 0, 3, groups, -1), f"{name}.taps.groups")
        taps = self.transpose(taps, (0, 1, 3, 2, 4), f"{name}.groups.taps")
        return self.reshape(taps, (0, 0, groups, -1), f"{name}.groups")

    def look_ahead(self, x: str, conv: nn.Conv1d, name: str) -> str:
        """Weigh each frame with those after it, channel by channel, and keep the next state."""
        weight = self.weight(f"{name}.weight", conv.weight[:, 0].T)
        inputs = {"x": x, "state": name, "weight": weight}
        body = Layers()
        names = [f"tap{i}" for i in range(*conv.kernel_size)]
        taps = body.node("Split", ["weight"], names, axis=0)
        y = body.row_convolution("x", taps.__getitem__, len(taps) - 1, "state")
        outputs = [f"{name}.output", f"next_{name}"]
        return self._own("RowConvolution", inputs, outputs, body, [y, "next_state"])[0]

    def linear(self, x: str, weight: Tensor, bias: Tensor, name: str) -> str:
        """`x W' + b` for frames of any size.

        Groups have a matrix each: weight [groups, N, K], bias [groups, N], x [..., groups, K].
        """
        return self._linear(x, self._weights(name, weight, bias, columns=True), f"{name}.linear")

    def gru(self, a: str, state: str, U: Tensor, c: Tensor, name: str) -> list[str]:
        """The states [T, N, H] of a GRU, and the last one.

        With groups there is an axis of them before the last, and the first of U and c.

        Args:
            a: the products of its inputs, [T, N, 3 H].
            state: before them, [N, H].
            U: [3 H, H].
            c: [3 H].
            name: of the layer.
        """
        weights = self._weights(f"{name}.U", U, c, columns=False)
        return self._gru(a, state, weights, U.shape[-1], name)

    def recurrent(
        self, x: str, norm: nn.Module, cell: nn.Module, kind: str, name: str, states: dict[str, str]
    ) -> tuple[str, list[str]]:
        """A recurrent layer with layer norm in front of it and a residual connection."""
        if kind != "gru":
            return super().recurrent(x, norm, cell, kind, name, states)
        W, U, b, c = _parameters(cell)
        size = U.shape[-1]
        of_input = self._weights(f"{name}.W", W, b, columns=True)
        of_state = self._weights(f"{name}.U", U, c, columns=False)
        weights = (*self.norm_weights(norm, f"{name}.norm"), *of_input, *of_state)
        inputs = dict(zip(LAYER, (x, states["hidden"], *weights), strict=True))
        body = self._function()
        y = body.norm("x", body.ones(size, "norm"), "norm.weight", "norm.bias", "norm")
        y = body.in_groups(y, "y")
        a = body._linear(y, OF_INPUT, "a")
        begin = body.reshape("state", (-1, *U.shape[:-2], size), "begin")
        every, end = body._gru(a, begin, OF_STATE, size, "cell")
        y = body.add("Add", ["x", body.together(every, "every")], "output")
        results = [y, body.reshape(end, (1, -1, self.groups * size), "end")]
        outputs = [f"{name}.output", f"{name}.end"]
        y, end = self._own("Int8GRULayer", inputs, outputs, body, results)
        return y, [end]

    def _layer(
        self, x: str, cell: nn.Module, kind: str, name: str, states: dict[str, str]
    ) -> list[str]:
        """What a layer's cells give for [T, N, H], and their next states."""
        W, U, b, c = _parameters(cell)
        x = self.in_groups(x, f"{name}.groups")
        return self._scanned(self.linear(x, W, b, f"{name}.W"), states, U, c, kind, name)

    def _scanned(
        self, a: str, states: dict[str, str], U: Tensor, c: Tensor, kind: str, name: str
    ) -> list[str]:
        """What a cell gives for the products of its inputs, and its next states."""
        body = self.body()
        groups, size = U.shape[:-2], U.shape[-1]
        # a Scan has to know how many axes there are
        a = self.reshape(a, (0, 0, *groups, c.shape[-1]), f"{name}.products")
        begin = {
            state: self.reshape(tensor, (-1, *groups, size), f"{name}.{state}.begin")
            for state, tensor in states.items()
        }

        def product(h: str, to: str, rows: slice) -> str:
            factors = []
            for k, (of, matrix) in enumerate(matrices(f"{to}.U", U[..., rows, :])):
                integers, scale = quantise_8_bit(matrix, columns=False)
                bias = c[rows] if c.ndim == 1 else c[k, rows]
                values = {"weight": integers, "scale": scale, "bias": bias}
                factors.append([self.weight(f"{of}.{n}", value) for n, value in values.items()])
            return body.products(h, factors, to)

        step = Step(body, name, size, product)
        every, *ends = self._unrolled(body, a, begin, step, kind)
        shape = (1, -1, groups.numel() * size)
        names = [f"{name}.{state}" for state in states]
        ends = [self.reshape(end, shape, of) for end, of in zip(ends, names, strict=True)]
        return [self.together(every, f"{name}.output"), *ends]

    def _unrolled(
        self, body: Int8Layers, a: str, begin: dict[str, str], step: Step, kind: str
    ) -> list[str]:
        """A Scan over the frames of the products of a cell's inputs."""
        gates, write = STEPS[kind]
        parts = self.divided(a, [count * step.size for count in gates])
        inputs = {f"{part}.step": part for part in parts}
        states = {f"{step.name}.{state}.step": tensor for state, tensor in begin.items()}
        after = write(step, *inputs, *states)
        output = body.add("Identity", [after[0]], f"{step.name}.step")
        ends, every = self.scan(body, states, inputs, after, output)
        return [every, *ends]

    def _weights(self, name: str, weight: Tensor, bias: Tensor, *, columns: bool) -> list[str]:
        """The last inputs of an operator of `asr.operators`, with a scale for each column or one.

        onnxruntime's own products are a third slower with a scale for each column.
        """
        quantised = [quantise_8_bit(one, columns=columns) for _, one in matrices(name, weight)]
        blocks = np.stack([in_blocks(integers) for integers, _ in quantised])
        sums = blocks.sum(axis=(2, 4), dtype=np.int32)
        scale = np.stack([scale for _, scale in quantised])
        values = blocks, sums, scale.reshape(bias.shape) if columns else scale, bias
        return [self.weight(f"{name}.{of}", one) for of, one in zip(WEIGHTS, values, strict=True)]

    def _own(
        self,
        operator: str,
        inputs: dict[str, str],
        outputs: list[str],
        body: GraphBuilder,
        results: list[str],
    ) -> list[str]:
        """An operator of `asr.operators`.

        Args:
            operator: its name.
            inputs: what the body calls them, and what they are.
            outputs: what they shall be called.
            body: what the operator is made of.
            results: what the body calls the outputs.
        """
        if operator not in self.functions:
            self.function(operator, list(inputs), results, body)
        return self.node(operator, list(inputs.values()), outputs, domain=DOMAIN)

    def _function(self) -> Int8Layers:
        """A graph of which an operator is made."""
        body = type(self)()
        body.groups, body.functions = self.groups, self.functions
        return body

    def _linear(self, x: str, weights: list[str], output: str) -> str:
        body = self._function()
        size = body.add("ReduceMax", [body.add("Abs", ["x"], "magnitude")], "largest", axes=[-1])
        size = body.add("Add", [size, body.weight("silent", SILENT)], "size")
        unit = body.add("Div", ["x", size], "unit")
        one = body.weight("one", 1.0)
        y = body.products(unit, [[matrix, one, ""] for matrix in body.unblocked()], "of_unit")
        y = body.add("Cast", [y], "floats", to=TensorProto.FLOAT)  # onnx cannot tell what they are
        y = body.add("Mul", [y, "scale"], "scaled")
        y = body.add("Mul", [y, size], "product")
        results = [body.add("Add", [y, "bias"], "y")]
        inputs = {"x": x, **dict(zip(WEIGHTS, weights, strict=True))}
        return self._own("Int8Linear", inputs, [output], body, results)[0]

    def _gru(self, a: str, state: str, weights: list[str], size: int, name: str) -> list[str]:
        """With so many units in each group."""
        body = self._function()
        inner = body.body()
        factors = []
        for k, matrix in enumerate(body.unblocked()):
            scale = body.part("scale", 0, f"scale{k}", k, k + 1)
            bias = "bias"
            if self.groups > 1:
                bias = body.reshape(body.part("bias", 0, f"row{k}", k, k + 1), (-1,), f"bias{k}")
            factors.append([matrix, scale, bias])

        def product(h: str, to: str, rows: slice) -> str:
            assert rows == slice(None)
            return inner.products(h, factors, to)

        step = Step(inner, "cell", size, product)
        results = body._unrolled(inner, "a", {"state": "state"}, step, "gru")
        inputs = {"a": a, "state": state, **dict(zip(WEIGHTS, weights, strict=True))}
        outputs = [f"{name}.states", f"{name}.end"]
        return self._own("Int8GRU", inputs, outputs, body, results)

    def unblocked(self) -> list[str]:
        """Of a function with the inputs WEIGHTS, the matrix [K, N] of each group."""
        begin, axis = self.weight("begin", [0]), self.weight("axis", [1])
        end = self.add("Shape", ["bias"], "end", start=-1)
        found = []
        for k in range(self.groups):
            blocks = self.part("weight", 0, f"blocks{k}", k, k + 1)
            rows = self.transpose(blocks, (0, 2, 4, 1, 3), f"rows{k}")
            padded = self.add("Flatten", [rows], f"padded{k}", axis=3)
            found.append(self.add("Slice", [padded, begin, end, axis], f"matrix{k}"))
        return found

    def products(self, x: str, factors: list[list[str]], output: str) -> str:
        """Those of x in [-1, 1], and of the matrix, the scale and the bias or "" of each group."""
        step, zero = self.weight("step", ACTIVATION_STEP), self.weight("zero", np.uint8(ZERO))
        integers = self.add("QuantizeLinear", [x, step, zero], f"{output}.integers")

        def product(part: str, k: int, output: str) -> str:
            matrix, scale, bias = factors[k]
            inputs = [part, matrix, step, scale, zero, "", bias]
            return self.add("MatMulIntegerToFloat", inputs, output, domain=MICROSOFT)

        return self.each_group(integers, len(factors), output, product)


def _parameters(cell: nn.Module) -> list[Tensor]:
    """W, U, b and c of `asr.nn.cells`; of several groups one behind the other on a first axis."""
    cells = cell if isinstance(cell, GroupedCell) else [cell]
    stacked = [
        torch.stack([one.get_parameter(f"{name}_l0") for one in cells])
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    return stacked if len(cells) > 1 else [each[0] for each in stacked]
