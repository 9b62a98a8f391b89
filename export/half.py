"""Weights in 16-bit floats on disk, in 32 bits at work."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx

    from asr.nn.model import CtcModel

SUFFIX = ".half"
LEAST = 4096
"""Smaller tensors stay as they are."""


def halved(model: CtcModel) -> CtcModel:
    """A copy of a model, its large weights rounded to what 16-bit floats can hold."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.numel() >= LEAST:
                weight.copy_(weight.half())
    return model


def packed(
    weights: Iterable[onnx.TensorProto],
) -> tuple[list[onnx.TensorProto], list[onnx.NodeProto]]:
    """Store in 16 bits what loses nothing by it.

    Returns:
        the weights, and the nodes that give those in 16 bits back under their names in 32.
    """
    stored, casts = [], []
    for weight in weights:
        array = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if array.dtype == np.float32 and array.size >= LEAST and np.array_equal(half, array):
            name = weight.name + SUFFIX
            casts.append(
                helper.make_node("Cast", [name], [weight.name], name, to=TensorProto.FLOAT)
            )
            weight = numpy_helper.from_array(half, name)
        stored.append(weight)
    return stored, casts


def unpacked(weights: Iterable[onnx.TensorProto]) -> dict[str, np.ndarray]:
    """The weights of a graph by their names, those in 16 bits as in 32."""
    arrays = {weight.name: numpy_helper.to_array(weight) for weight in weights}
    return {
        name.removesuffix(SUFFIX): array.astype(np.float32) if name.endswith(SUFFIX) else array
        for name, array in arrays.items()
    }
