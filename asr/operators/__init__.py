"""Operators that onnxruntime lacks: products in 8-bit integers, the GRU made of them, spectra.

A model in 8-bit integers names them, and says for whoever lacks them what operators of onnxruntime
they are made of (functions in ONNX; `asr.export.int8` writes them). Where this package was compiled
and its kernels know the processor, onnxruntime takes them from here instead, which spares it a
dozen operators for each frame.

    Int8Linear     x [..., K] -> [..., N], `x W' + b`; each x is quantised by its largest value
    Int8GRU        a [T, N, 3 H], state [N, H] -> states [T, N, H], the last one [N, H]: a GRU after
                   `state`, from the products a of its inputs, reset behind the product
    PowerSpectrum  samples [N, S] -> [N, F, bins], of the frames of `asr.nn.frontend`

The first two have an axis of groups before the last where units stand in groups. Their weights lie
in blocks, `asr.export.quantise.in_blocks`; beside them there are the sums of each output's weights,
their scales (of a GRU one for each group), and the biases. The last takes half of the window too,
and the Fourier transform's cosines and sines, which only those who lack it need.
"""

from __future__ import annotations

try:
    from asr.operators import _library
except ImportError:  # there was no compiler when this was installed
    _library = None  # type: ignore[assignment]

DOMAIN = "rill"
LIBRARY = _library.__file__ if _library else None
"""The file with the operators, for onnxruntime; None where onnxruntime's own have to do. Importing
it finds the kernel, and keeps it in memory as long as a session may call it."""
KERNELS = tuple(_library.kernels()) if _library else ()
"""Those that this processor has, the best first; without one LIBRARY registers nothing."""
