"""The layers of the model in ONNX operators, their matrix products in 8-bit integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from onnx import TensorProto

from asr.nn.cells import GroupedCell

from .builder import MICROSOFT
from .cells import STEPS, Step
from .layers import Layers, matrices
from .quantise import ACTIVATION_STEP, ZERO, quantise_8_bit, quantise_16_bit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

SILENT = 1e-10
"""Added to the loudest activation of a frame, which is divided by."""


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

        All its columns have one scale: onnxruntime is a third slower with a scale for each. Groups
        have a matrix each, weight [groups, N, K] and activations [..., groups, K].
        """
        factors = []
        for one, matrix in matrices(name, weight):
            integers, scale = quantise_8_bit(matrix, columns=False)
            factors.append((one, integers, self.weight(f"{one}.scale", scale)))
        return self._products(x, factors, output, bias)

    def _products(
        self,
        x: str,
        factors: list[tuple[str, NDArray[np.int8], str]],
        output: str,
        bias: Tensor | None = None,
    ) -> str:
        """With each matrix, of which there are its name, its integers and their scale."""

        def product(part: str, k: int, output: str) -> str:
            name, integers, scale = factors[k]
            step, zero = self.weight("activation.step", ACTIVATION_STEP), self._zero()
            inputs = [part, self.weight(f"{name}.weight", integers), step, scale, zero, ""]
            if bias is not None:
                own = bias if len(factors) == 1 else bias[k]
                inputs.append(self.weight(f"{name}.bias", own))
            return self.add("MatMulIntegerToFloat", inputs, output, domain=MICROSOFT)

        return self.each_group(x, len(factors), output, product)

    def linear(self, x: str, weight: Tensor, bias: Tensor, name: str) -> str:
        """`x W' + b` for frames of any size, in groups as `product` has them."""
        size = self.add("ReduceMax", [self.add("Abs", [x], f"{x}.abs")], f"{x}.max", axes=[-1])
        size = self.add("Add", [size, self.weight("silent", SILENT)], f"{x}.size")
        unit = self.add("Div", [x, size], f"{x}.unit")
        one = self.weight("weight.step", 1.0)
        factors, scales = [], []
        for of, matrix in matrices(name, weight):
            integers, scale = quantise_8_bit(matrix)
            factors.append((of, integers, one))
            scales.append(scale)
        y = self._products(self.in_8_bits(unit), factors, f"{name}.of_unit")
        scale = np.stack(scales).reshape(bias.shape)
        y = self.add("Mul", [y, self.weight(f"{name}.scale", scale)], f"{name}.scaled")
        y = self.add("Mul", [y, size], f"{name}.product")
        return self.add("Add", [y, self.weight(f"{name}.bias", bias)], f"{name}.linear")

    def recurrent(
        self, x: str, y: str, cell: nn.Module, kind: str, name: str, states: dict[str, str]
    ) -> tuple[str, list[str]]:
        """A Scan over the frames."""
        cells = cell if isinstance(cell, GroupedCell) else [cell]
        W, U, b, c = (
            torch.stack([one.get_parameter(f"{parameter}_l0") for one in cells])
            for parameter in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        size = U.shape[-1]
        if len(cells) == 1:
            W, U, b, c = W[0], U[0], b[0], c[0]
        x, y = self.in_groups(x, f"{name}.x.groups"), self.in_groups(y, f"{name}.y.groups")
        a = self.linear(y, W, b, f"{name}.W")
        gates, write = STEPS[kind]
        parts = self.divided(a, [count * size for count in gates])
        inputs = {f"{part}.step": part for part in parts}
        of_streams = (-1, *([self.groups] if self.groups > 1 else []), size)
        begin = {
            f"{name}.{state}.step": self.reshape(tensor, of_streams, f"{name}.{state}.begin")
            for state, tensor in states.items()
        }
        body = self.body()
        after = write(Step(body, name, U, c), *inputs, *begin)
        total = body.add("Add", [f"{name}.x", after[0]], f"{name}.residual.step")
        ends, x = self.scan(body, begin, {f"{name}.x": x, **inputs}, after, total)
        ends = [
            self.reshape(end, (1, -1, len(cells) * size), f"{name}.{state}")
            for end, state in zip(ends, states, strict=True)
        ]
        return self.together(x, f"{name}.residual"), ends
