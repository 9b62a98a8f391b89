"""The layers of the model in ONNX operators, in 32-bit floats.

Written out rather than traced: every name says what it stands for, time and batch stay free, and
nothing depends on the version of an exporter. Between layers there are frames [T, N, C].
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.nn.cells import GroupedCell
from asr.nn.frontend import HALF, HOP, PREEMPHASIS, TAIL, WINDOW

from .builder import TO_THE_END, GraphBuilder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from asr.nn.model import CtcModel

    Linear = Callable[[str, Tensor, Tensor, str], str]

GATES = {"gru": (1, 0, 2), "gru_reset_before": (1, 0, 2), "lstm": (0, 3, 1, 2), "rnn": (0,)}
"""ONNX's order of gates (z r h; i o f c), as places in PyTorch's (r z n; i f g o)."""
OPERATORS = {"gru": "GRU", "gru_reset_before": "GRU", "lstm": "LSTM", "rnn": "RNN"}
LAYER_NORM_EPSILON = 1e-5
"""PyTorch's default."""


class Layers(GraphBuilder):
    """The layers in 32-bit floats; a recurrent layer is one node for each group of its units.

    Attributes:
        groups: into which channels and units are divided.
    """

    groups = 1

    def in_groups(self, x: str, output: str, groups: int | None = None) -> str:
        """[T, N, C] as [T, N, groups, C / groups], if there are several; by default `groups`."""
        groups = groups or self.groups
        return x if groups == 1 else self.reshape(x, (0, 0, groups, -1), output)

    def together(self, x: str, output: str, groups: int | None = None) -> str:
        """The reverse of `in_groups`."""
        return x if (groups or self.groups) == 1 else self.reshape(x, (0, 0, -1), output)

    def stored(self, name: str, value: NDArray[np.float32]) -> str:
        """Weights that are computed with in 32-bit floats."""
        return self.weight(name, value)

    def frontend(self, model: CtcModel) -> str:
        """Standardised log-mel features [F, N, MELS] of `audio`; see `asr.nn.frontend`."""
        return self.standardise(self.log_mel(partial(self.kernel, model)), *self.statistics(model))

    def kernel(self, model: CtcModel, name: str) -> str:
        """The `cosines` or `sines` [HALF, bins], or the filters `mels` [bins, MELS]."""
        return self.stored(f"frontend.{name}", _array(model.frontend.get_buffer(name)).T)

    def statistics(self, model: CtcModel) -> tuple[str, str]:
        """Mean and standard deviation of the features of the training data, [MELS] each."""
        return self.weight("mean", model.mean), self.weight("deviation", model.deviation)

    def log_mel(self, kernel: Callable[[str], str]) -> str:
        """Features of `audio` [N, S] behind the state `samples` [N, TAIL].

        Args:
            kernel: gives what `Layers.kernel` has by its name.
        """
        samples = self.add("Concat", ["samples", "audio"], "with_tail", axis=1)
        self.part(samples, 1, "next_samples", begin=-TAIL)
        power = self._power_spectrum(samples, kernel)
        energies = self.add("MatMul", [power, kernel("mels")], "energies")
        energies = self.transpose(energies, (1, 0, 2), "energies.frames")
        floor = self.weight("frontend.floor", np.finfo(np.float32).eps)
        return self.add("Log", [self.add("Max", [energies, floor], "floored")], "features")

    def _power_spectrum(self, samples: str, kernel: Callable[[str], str]) -> str:
        """Power [N, F, bins] of the frames in samples [N, S], with the tail in front."""
        frames = self._frames(samples)
        mean = self.add("ReduceMean", [frames], "mean_sample", axes=[-1])
        centred = self.add("Sub", [frames, mean], "centred")
        later = self.part(centred, 2, "later", 1, -1)
        earlier = self.part(centred, 2, "earlier", end=-2)
        preemphasis = self.weight("frontend.preemphasis", PREEMPHASIS)
        earlier = self.add("Mul", [earlier, preemphasis], "weakened")
        emphasised = self.add("Sub", [later, earlier], "emphasised")
        first = self.part(emphasised, 2, "first", end=HALF)
        mirrored = self.part(emphasised, 2, "mirrored", -1, -HALF - 1, -1)
        squares = []
        for operator, name in (("Add", "cosines"), ("Sub", "sines")):
            x = self.add(operator, [first, mirrored], f"for_{name}")
            x = self.add("MatMul", [x, kernel(name)], f"of_{name}")
            squares.append(self.add("Mul", [x, x], f"of_{name}.squares"))
        return self.add("Add", squares, "power")

    def _frames(self, samples: str) -> str:
        """Each WINDOW samples of [N, S], HOP from the last: [N, F, WINDOW]."""
        missing = self.weight("frontend.missing", [0, 0, 0, -TAIL % HOP])
        samples = self.add("Pad", [samples, missing], "whole_hops")
        hops = self.reshape(samples, (0, -1, HOP), "hops")
        bounds = (0, -2), (1, -1), (2, TO_THE_END)
        three = [self.part(hops, 1, f"hops{begin}", begin, end) for begin, end in bounds]
        wide = self.add("Concat", three, "three_hops", axis=2)
        return self.part(wide, 2, "frames", end=WINDOW)

    def standardise(self, features: str, mean: str, deviation: str) -> str:
        """Features [..., MELS] with the mean and variance of the training data taken out."""
        centred = self.add("Sub", [features, mean], "features.centred")
        return self.add("Div", [centred, deviation], "normalised")

    def behind(self, name: str, x: str, count: int) -> str:
        """Frames [T, N, C] behind those that state `name` [N, C, count] holds of the chunk before.

        The last of them are the next state.
        """
        before = self.transpose(name, (2, 0, 1), f"{name}.before")
        whole = self.add("Concat", [before, x], f"{name}.input", axis=0)
        last = self.part(whole, 0, f"{name}.last", begin=-count)
        self.transpose(last, (1, 2, 0), f"next_{name}")
        return whole

    def subsample(self, x: str, conv: nn.Conv1d, name: str, product: Linear) -> str:
        """Convolve frames [2 T, N, C] behind that of state `name`, and rectify: [T, N, H].

        As the product, by `in_floats` or `linear`, of a matrix and three neighbouring frames each.
        """
        groups = conv.groups
        x = self.unfold(x, name, groups)
        weight, bias = conv.weight.permute(0, 2, 1).flatten(1), conv.get_parameter("bias")
        if groups > 1:
            weight, bias = (part.unflatten(0, (groups, -1)) for part in (weight, bias))
        y = product(x, weight, bias, name)
        return self.add("Relu", [self.together(y, f"{name}.together", groups)], f"{name}.output")

    def unfold(self, x: str, name: str, groups: int) -> str:
        """Each second frame of x [2 T, N, C] between its neighbours: [T, N, 3 C], or in groups.

        They are behind the frame of state `name` [N, C, 1], and the next state is kept.
        """
        x = self.in_groups(self.behind(name, x, 1), f"{name}.groups", groups)
        bounds = (0, -1), (1, TO_THE_END), (2, TO_THE_END)
        taps = [self.part(x, 0, f"{name}.tap{b}", b, e, step=2) for b, e in bounds]
        return self.add("Concat", taps, f"{name}.taps", axis=-1)

    def in_floats(self, x: str, weight: Tensor, bias: Tensor, name: str) -> str:
        """`x W' + b` for frames of any size.

        Groups have a matrix each: weight [groups, N, K], bias [groups, N], x [..., groups, K].
        """
        factors = [self.stored(f"{of}.weight", matrix) for of, matrix in matrices(name, weight)]

        def product(part: str, k: int, output: str) -> str:
            return self.add("MatMul", [part, factors[k]], output)

        y = self.each_group(x, len(factors), f"{name}.product", product)
        return self.add("Add", [y, self.weight(f"{name}.bias", bias)], f"{name}.linear")

    linear = in_floats

    def each_group(
        self, x: str, groups: int, output: str, product: Callable[[str, int, str], str]
    ) -> str:
        """What `product` makes of the part of each group, its number and the name of its output."""
        if groups == 1:
            return product(x, 0, output)
        names = [f"{output}.group{k}" for k in range(groups)]
        parts = self.node("Split", [x], [f"{name}.input" for name in names], axis=-2)
        products = [
            product(part, k, name) for k, (part, name) in enumerate(zip(parts, names, strict=True))
        ]
        return self.add("Concat", products, output, axis=-2)

    def look_ahead(self, x: str, conv: nn.Conv1d, name: str) -> str:
        """Weigh each frame with those after it, channel by channel, and keep the next state."""
        taps = conv.weight[:, 0].T

        def tap(i: int) -> str:
            return self.weight(f"{name}.weight{i}", taps[i])

        return self.row_convolution(x, tap, len(taps) - 1, name)

    def row_convolution(self, x: str, tap: Callable[[int], str], context: int, name: str) -> str:
        """Frames x [T, N, C] behind those of state `name` [N, C, context], weighed by each tap [C].

        A sum of products: onnxruntime's convolution of single channels is several times slower.
        """
        whole = self.behind(name, x, context)
        total = ""
        for i in range(context + 1):
            end = i - context if i < context else TO_THE_END
            frames = self.part(whole, 0, f"{name}.frames{i}", i, end)
            product = self.add("Mul", [frames, tap(i)], f"{name}.product{i}")
            total = self.add("Add", [total, product], f"{name}.sum{i}") if i else product
        return total

    def layer_norm(self, x: str, norm: nn.Module, name: str) -> str:
        """Layer norm over the last axis, group by group."""
        ones = self.ones(len(norm.get_parameter("weight")) // self.groups, name)
        return self.norm(x, ones, *self.norm_weights(norm, name), name)

    def ones(self, size: int, name: str) -> str:
        """What groups of so many channels are weighed with as they are normed; nothing if alone."""
        return self.weight(f"{name}.ones", np.ones(size)) if self.groups > 1 else ""

    def norm_weights(self, norm: nn.Module, name: str) -> tuple[str, str]:
        """Weight and bias, [H] each."""
        weight, bias = norm.get_parameter("weight"), norm.get_parameter("bias")
        return self.weight(f"{name}.weight", weight), self.weight(f"{name}.bias", bias)

    def norm(self, x: str, ones: str, weight: str, bias: str, name: str) -> str:
        """The same of x [T, N, H] by the names of its weights."""
        epsilon = LAYER_NORM_EPSILON
        if self.groups == 1:
            inputs = [x, weight, bias]
            return self.add("LayerNormalization", inputs, f"{name}.output", epsilon=epsilon)
        x = self.in_groups(x, f"{name}.groups")
        x = self.add("LayerNormalization", [x, ones], f"{name}.normed", epsilon=epsilon)
        x = self.together(x, f"{name}.together")
        x = self.add("Mul", [x, weight], f"{name}.weighted")
        return self.add("Add", [x, bias], f"{name}.output")

    def recurrent(
        self, x: str, norm: nn.Module, cell: nn.Module, kind: str, name: str, states: dict[str, str]
    ) -> tuple[str, list[str]]:
        """A recurrent layer with layer norm in front of it and a residual connection.

        Args:
            x: [T, N, H].
            norm: layer norm.
            cell: its weights, named as PyTorch's.
            kind: of cell, a key of OPERATORS.
            name: of the layer.
            states: [1, N, H] by name: `hidden`, and for an LSTM `cell`.

        Returns:
            the sum of x and what the cell gives, and the next states.
        """
        y = self.layer_norm(x, norm, f"{name}.norm")
        every, *ends = self._layer(y, cell, kind, name, states)
        return self.add("Add", [x, every], f"{name}.residual"), ends

    def _layer(
        self, x: str, cell: nn.Module, kind: str, name: str, states: dict[str, str]
    ) -> list[str]:
        """What a layer's cells give for [T, N, H], and their next states."""
        if not isinstance(cell, GroupedCell):
            return self._cell(x, cell, kind, name, states)
        names = [f"{name}.{k}" for k in range(self.groups)]
        inputs = self.node("Split", [x], [f"{one}.input" for one in names], axis=-1)
        begins = [
            self.node("Split", [tensor], [f"{one}.{state}.begin" for one in names], axis=-1)
            for state, tensor in states.items()
        ]
        parts = [
            self._cell(part, one, kind, of, dict(zip(states, begin, strict=True)))
            for part, one, of, *begin in zip(inputs, cell, names, *begins, strict=True)
        ]
        return [
            self.add("Concat", each, f"{name}.{of}", axis=-1)
            for of, *each in zip(("output", *states), *parts, strict=True)
        ]

    def _cell(
        self, x: str, cell: nn.Module, kind: str, name: str, states: dict[str, str]
    ) -> list[str]:
        """What a cell gives for [T, N, H], and its next states."""

        def gates(parameter: str) -> NDArray[np.float32]:
            rows = _array(cell.get_parameter(f"{parameter}_l0"))
            return np.concatenate([np.split(rows, len(GATES[kind]))[i] for i in GATES[kind]])

        bias = np.concatenate([gates("bias_ih"), gates("bias_hh")])
        inputs = [
            x,
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
        return [self.add("Squeeze", [every, axis], f"{name}.output"), *ends]

    def head(self, x: str, linear: nn.Module) -> str:
        """Log-probabilities [T, N, V] of frames [T, N, H]."""
        weight, bias = linear.get_parameter("weight"), linear.get_parameter("bias")
        logits = self.in_floats(x, weight, bias, "head")
        return self.add("LogSoftmax", [logits], "head.log_probs", axis=-1)


def matrices(name: str, weight: Tensor) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The transpose of a weight matrix, or of that of each group, and its name."""
    arrays = _array(weight)
    if arrays.ndim == 2:
        yield name, arrays.T
    else:
        yield from ((f"{name}.{k}", matrix.T) for k, matrix in enumerate(arrays))


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().cpu().numpy()
