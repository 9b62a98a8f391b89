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
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor, nn

SILENT = 1e-10
"""Added to the loudest activation of a frame, which is divided by."""
LINEAR, GRU, POWER = "Int8Linear", "Int8GRU", "PowerSpectrum"
"""Operators of `asr.operators`."""
WEIGHTS = ("weight", "sums", "scale", "bias")
"""Their last inputs."""


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

    def power_spectrum(self, samples: str, kernel: Callable[[str], str]) -> str:
        """Power [N, F, bins] of the frames in samples [N, S]."""
        if POWER not in self.functions:
            body = self._function()
            power = super(Int8Layers, body).power_spectrum("samples", lambda name: name)
            self.function(POWER, ["samples", "window", "cosines", "sines"], [power], body)
        window = self.weight("frontend.window", povey_window().float())
        inputs = [samples, window, kernel("cosines"), kernel("sines")]
        return self.add(POWER, inputs, "power", domain=DOMAIN)

    def linear(self, x: str, weight: Tensor, bias: Tensor, name: str) -> str:
        """`x W' + b` for frames of any size.

        Groups have a matrix each: weight [groups, N, K], bias [groups, N], x [..., groups, K].
        """
        if LINEAR not in self.functions:
            self._define_linear()
        inputs = [x, *self._weights(name, weight, bias, columns=True)]
        return self.add(LINEAR, inputs, f"{name}.linear", domain=DOMAIN)

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
        if GRU not in self.functions:
            self._define_gru(U.shape[-1])
        inputs = [a, state, *self._weights(f"{name}.U", U, c, columns=False)]
        return self.node(GRU, inputs, [f"{name}.states", f"{name}.end"], domain=DOMAIN)

    def recurrent(
        self, x: str, y: str, cell: nn.Module, kind: str, name: str, states: dict[str, str]
    ) -> tuple[str, list[str]]:
        """A recurrent layer, all groups of its units at once."""
        cells = cell if isinstance(cell, GroupedCell) else [cell]
        W, U, b, c = (
            torch.stack([one.get_parameter(f"{parameter}_l0") for one in cells])
            for parameter in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        size = U.shape[-1]
        if len(cells) == 1:
            W, U, b, c = W[0], U[0], b[0], c[0]
        a = self.linear(self.in_groups(y, f"{name}.y.groups"), W, b, f"{name}.W")
        of_streams = (-1, *([self.groups] if self.groups > 1 else []), size)
        begin = {
            state: self.reshape(tensor, of_streams, f"{name}.{state}.begin")
            for state, tensor in states.items()
        }
        if kind == "gru":
            every, *ends = self.gru(a, begin["hidden"], U, c, name)
        else:
            every, *ends = self._scanned(a, begin, U, c, kind, name)
        every = self.together(every, f"{name}.output")
        ends = [
            self.reshape(end, (1, -1, len(cells) * size), f"{name}.{state}")
            for end, state in zip(ends, states, strict=True)
        ]
        return self.add("Add", [x, every], f"{name}.residual"), ends

    def _scanned(
        self, a: str, begin: dict[str, str], U: Tensor, c: Tensor, kind: str, name: str
    ) -> list[str]:
        """What a cell gives for the products of its inputs, and its next states."""
        body = self.body()
        # a Scan has to know how many axes there are
        a = self.reshape(a, (0, 0, *U.shape[:-2], c.shape[-1]), f"{name}.products")

        def product(h: str, to: str, rows: slice) -> str:
            factors = []
            for k, (of, matrix) in enumerate(matrices(f"{to}.U", U[..., rows, :])):
                integers, scale = quantise_8_bit(matrix, columns=False)
                bias = c[rows] if c.ndim == 1 else c[k, rows]
                values = {"weight": integers, "scale": scale, "bias": bias}
                factors.append([self.weight(f"{of}.{n}", value) for n, value in values.items()])
            return body.products(h, factors, to)

        return self._unrolled(body, a, begin, Step(body, name, U.shape[-1], product), kind)

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

    def _function(self) -> Int8Layers:
        body = type(self)()
        body.groups = self.groups
        return body

    def _define_linear(self) -> None:
        body = self._function()
        size = body.add("ReduceMax", [body.add("Abs", ["x"], "magnitude")], "largest", axes=[-1])
        size = body.add("Add", [size, body.weight("silent", SILENT)], "size")
        unit = body.add("Div", ["x", size], "unit")
        one = body.weight("one", 1.0)
        factors = [[matrix, one, ""] for matrix in body.unblocked()]
        y = body.products(unit, factors, "of_unit")
        y = body.add("Mul", [y, "scale"], "scaled")
        y = body.add("Mul", [y, size], "product")
        body.add("Add", [y, "bias"], "y")
        self.function(LINEAR, ["x", *WEIGHTS], ["y"], body)

    def _define_gru(self, size: int) -> None:
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
        outputs = body._unrolled(inner, "a", {"state": "state"}, step, "gru")
        self.function(GRU, ["a", "state", *WEIGHTS], outputs, body)

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
