"""Weights and activations in few bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

ZERO = 128
"""What stands for zero. Weights and activations are both unsigned: products of signed and unsigned
integers saturate on x86 processors without VNNI."""
ACTIVATION_STEP = 1 / 127
"""So that [-1, 1] is 1 to 255."""
SHARES = np.linspace(0.6, 1.0, 21)
"""Of a column's largest weight: what lies beyond may be cut off if the rest gains by it."""


def quantise_8_bit(weight: Floats) -> tuple[NDArray[np.uint8], Floats]:
    """A matrix [K, N] in integers, and the scale [N] of each column.

    Each column has the scale of SHARES that leaves the smallest squared error.
    """
    largest = np.maximum(np.abs(weight).max(axis=0), np.finfo(np.float32).tiny)
    best, scale = np.full(len(largest), np.inf), largest / 127
    for share in SHARES:
        tried = share * largest / 127
        error = np.square(weight - tried * _rounded(weight / tried, 127)).sum(axis=0)
        scale = np.where(error < best, tried, scale)
        best = np.minimum(error, best)
    integers = _rounded(weight / scale, 127) + ZERO
    return integers.astype(np.uint8), scale.astype(np.float32)


def quantise_16_bit(weight: Floats) -> tuple[NDArray[np.int16], Floats]:
    """Weights in integers, and the scale of each place along the first axis."""
    others = tuple(range(1, weight.ndim))
    largest = np.maximum(np.abs(weight).max(axis=others, keepdims=True), np.finfo(np.float32).tiny)
    scale = largest / np.iinfo(np.int16).max
    return _rounded(weight / scale, np.iinfo(np.int16).max).astype(np.int16), scale


def _rounded(x: Floats, limit: int) -> Floats:
    return np.round(x).clip(-limit, limit)
