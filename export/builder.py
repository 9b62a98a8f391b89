"""ONNX operators by name, collected into a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from asr.operators import DOMAIN

from .half import packed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from typing_extensions import Self

OPSET = 17
"""The first with LayerNormalization; onnxruntime reads it since 1.13."""
IR_VERSION = 8
MICROSOFT = "com.microsoft"
"""Domain of the operators that onnxruntime has beyond ONNX."""
TO_THE_END = np.iinfo(np.int64).max
TYPES = {"f": np.float32, "i": np.int64}
"""Types of constants by kind."""
NARROW = (np.uint8, np.int8, np.int16, np.int32)
"""Types that constants keep."""

Shape = list[int | str]


class GraphBuilder:
    """Collects nodes and weights; every method adds operators and returns the output's name.

    A `body` is a graph within the graph, with the same weights. A function is a graph of its own,
    of which an operator of DOMAIN is made.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}
        self.functions: dict[str, onnx.FunctionProto] = {}

    def weight(self, name: str, value: Any) -> str:
        """A constant, from a tensor, an array or numbers; a name that is there is that constant."""
        if name not in self.weights:
            array = np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)
            kind = array.dtype if array.dtype in NARROW else TYPES[array.dtype.kind]
            self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(array, kind), name)
        return name

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Any operator with one output."""
        return self.node(operator, inputs, [output], **attributes)[0]

    def node(
        self, operator: str, inputs: Sequence[str], outputs: list[str], **attributes: Any
    ) -> list[str]:
        """Any operator."""
        self.nodes.append(helper.make_node(operator, inputs, outputs, outputs[0], **attributes))
        return outputs

    def part(
        self, x: str, axis: int, output: str, begin: int = 0, end: int = TO_THE_END, step: int = 1
    ) -> str:
        """Places `begin`, `begin + step`, ... before `end` along an axis."""
        bounds = [self.weight(f"places.{n}", [n]) for n in (begin, end, axis, step)]
        return self.add("Slice", [x, *bounds], output)

    def transpose(self, x: str, axes: tuple[int, ...], output: str) -> str:
        """Permute axes."""
        return self.add("Transpose", [x], output, perm=list(axes))

    def reshape(self, x: str, shape: Sequence[int], output: str) -> str:
        """Another shape; 0 keeps the size of that axis, -1 stands for what is left."""
        sizes = self.weight(f"shape.{'.'.join(map(str, shape))}", list(shape))
        return self.add("Reshape", [x, sizes], output)

    def divided(self, x: str, sizes: Sequence[int]) -> list[str]:
        """Parts of the last axis, of these sizes."""
        if len(sizes) == 1:
            return [x]
        split = self.weight(f"sizes.{'.'.join(map(str, sizes))}", list(sizes))
        return self.node("Split", [x, split], [f"{x}.{i}" for i in range(len(sizes))], axis=-1)

    def body(self) -> Self:
        """A graph that a node of this one runs."""
        inner = type(self)()
        inner.weights = self.weights
        return inner

    def function(
        self, name: str, inputs: Sequence[str], outputs: Sequence[str], body: GraphBuilder
    ) -> None:
        """Say what an operator of DOMAIN is made of.

        Args:
            name: of the operator.
            inputs: what the body calls them.
            outputs: likewise.
            body: a graph of its own, whose weights are part of it.
        """
        constants = [
            helper.make_node("Constant", [], [name], value=value)
            for name, value in body.weights.items()
        ]
        self.functions[name] = helper.make_function(
            DOMAIN, name, inputs, outputs, [*constants, *body.nodes], _imports(body.nodes)
        )

    def scan(
        self,
        body: Self,
        states: Mapping[str, str],
        inputs: Mapping[str, str],
        next_states: Sequence[str],
        output: str,
    ) -> tuple[list[str], str]:
        """Run `body` once for each place along the first axis of the inputs.

        Args:
            body: one step.
            states: what the body calls each state, and its value at the start.
            inputs: what the body calls each input, and the tensor that holds all of them.
            next_states: what the body calls the states that it leaves.
            output: what the body calls what it gives.

        Returns:
            the states at the end, and all outputs one after the other.
        """
        graph = helper.make_graph(
            body.nodes,
            f"{output}.step",
            _floats([*states, *inputs]),
            _floats([*next_states, output]),
        )
        ends = [f"{name}.end" for name in states]
        *_, outputs = self.node(
            "Scan",
            [*states.values(), *inputs.values()],
            [*ends, f"{output}.all"],
            body=graph,
            num_scan_inputs=len(inputs),
        )
        return ends, outputs

    def model(
        self,
        inputs: Mapping[str, Shape],
        outputs: Mapping[str, Shape],
        metadata: dict[str, str],
        integers: Sequence[str] = (),
    ) -> onnx.ModelProto:
        """The finished file, checked.

        Args:
            inputs: shape by name; a name in place of a size is a size that is free.
            outputs: likewise.
            metadata: properties of the file.
            integers: those inputs and outputs that are int64; all others are float32.
        """

        def tensors(shapes: Mapping[str, Shape]) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(
                    name, TensorProto.INT64 if name in integers else TensorProto.FLOAT, shape
                )
                for name, shape in shapes.items()
            ]

        weights, casts = packed(self.weights.values())
        graph = helper.make_graph(
            [*casts, *self.nodes],
            "rill",
            tensors(inputs),
            tensors(outputs),
            weights,
        )
        inner = [node for function in self.functions.values() for node in function.node]
        proto = helper.make_model(
            graph,
            functions=list(self.functions.values()),
            opset_imports=_imports([*graph.node, *inner]),
            ir_version=IR_VERSION,
            producer_name="rill-asr",
        )
        helper.set_model_props(proto, metadata)
        onnx.checker.check_model(proto, full_check=True)
        return proto


def _floats(names: Iterable[str]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]


def _imports(nodes: Iterable[onnx.NodeProto]) -> list[onnx.OperatorSetIdProto]:
    """The sets of operators that some nodes are of, and the nodes of the graphs within them."""
    versions = {"": OPSET, MICROSOFT: 1, DOMAIN: 1}
    used = {""} | {node.domain for node in _with_inner(nodes)}
    return [helper.make_opsetid(name, versions[name]) for name in versions if name in used]


def _with_inner(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            yield from _with_inner(attribute.g.node)
