"""Operators that onnxruntime lacks: products in 8-bit integers, and the GRU made of them.

A model in 8-bit integers names them, and says for whoever lacks them what operators of onnxruntime
they are made of (functions in ONNX; `asr.export.int8` writes them). Where this package was compiled
and its kernels know the processor, onnxruntime takes them from here instead, which spares it a
dozen operators for each frame.
"""

from __future__ import annotations

from importlib.util import find_spec

DOMAIN = "rill"


def library() -> str | None:
    """The file with the operators, for onnxruntime; None where there was no compiler."""
    spec = find_spec(f"{__name__}._library")
    return spec.origin if spec else None


def kernel() -> str | None:
    """The best kernel for this processor; None where onnxruntime's own operators have to do."""
    try:
        from asr.operators import _library
    except ImportError:
        return None
    return next(iter(_library.kernels()), None)
