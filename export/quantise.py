"""Weights and activations in few bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from asr.errors import ExportError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

ZERO = 128
"""The activation that stands for zero; they are unsigned, weights are signed."""
PAIR = 128
"""Largest sum of two neighbouring weights of one sign. x86 processors without VNNI add the products
of two neighbours in 16 bits, where 255 * PAIR still fits."""
ACTIVATION_STEP = 1 / 127
"""So that [-1, 1] is 1 to 255."""
BLOCK = (16, 4)
"""Outputs and inputs whose weights lie together, as `asr/operators/_kernels.h` has them."""
SHARES = np.linspace(0.4, 1.0, 31)
"""Of the largest weight: what lies beyond may be cut off if the rest gains by it."""


def quantise_8_bit(weight: Floats, *, columns: bool = True) -> tuple[NDArray[np.int8], Floats]:
    """A matrix [K, N] in integers, and the scale [N] of each column, or the one of all.

    It is that of SHARES that leaves the smallest squared error.
    """
    over = 0 if columns else (0, 1)
    largest = np.abs(weight).max(axis=over).clip(np.finfo(np.float32).tiny)
    pairs = _pairs(weight).max(axis=(0, 1))
    largest = np.maximum(largest, 127 / PAIR * (pairs if columns else pairs.max()))
    best, scale = np.full_like(largest, np.inf), largest / 127
    for share in SHARES:
        tried = share * largest / 127
        error = np.square(weight - tried * _paired(weight / tried)).sum(axis=over)
        scale = np.where(error < best, tried, scale)
        best = np.minimum(error, best)
    return _paired(weight / scale).astype(np.int8), np.asarray(scale, np.float32)


def in_blocks(matrix: NDArray[np.int8]) -> NDArray[np.int8]:
    """A matrix [K, N] in blocks [N / 16, K / 4, 16, 4], behind the last column zeros.

    Raises:
        ExportError: when K is no multiple of 4.
    """
    (K, N), (outputs, inputs) = matrix.shape, BLOCK
    if K % inputs:
        raise ExportError(
            f"in 8-bit integers units and channels are taken by {inputs}, and {K} is no multiple "
            "of it; export without int8 (--no-int8), or train another size"
        )
    whole = np.pad(matrix, [(0, 0), (0, -N % outputs)])
    parts = whole.reshape(K // inputs, inputs, -1, outputs)
    blocks: NDArray[np.int8] = parts.transpose(2, 0, 3, 1)
    return blocks


def _pairs(x: Floats) -> Floats:
    """What two neighbours of a column, of which each row is in one pair, have above and below 0."""
    parts = np.stack([x, -x]).clip(0)
    pairs: Floats = parts[:, ::2] + np.pad(parts[:, 1::2], ((0, 0), (0, len(x) % 2), (0, 0)))
    return pairs


def _paired(x: Floats) -> Floats:
    """Rounds to 8 bits, pairs that are over PAIR towards zero."""
    x = _rounded(x, 127)
    excess = np.maximum(_pairs(x).max(axis=0) / PAIR, 1).repeat(2, axis=0)[: len(x)]
    whole: Floats = np.trunc(x / excess)
    return whole


def quantise_16_bit(weight: Floats) -> tuple[NDArray[np.int16], Floats]:
    """Weights in integers, and the scale of each place along the first axis."""
    others = tuple(range(1, weight.ndim))
    largest = np.maximum(np.abs(weight).max(axis=others, keepdims=True), np.finfo(np.float32).tiny)
    scale = largest / np.iinfo(np.int16).max
    return _rounded(weight / scale, np.iinfo(np.int16).max).astype(np.int16), scale


def _rounded(x: Floats, limit: int) -> Floats:
    return np.round(x).clip(-limit, limit)
