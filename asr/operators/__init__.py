"""Operators that onnxruntime lacks: whole layers of the model, with products in 8-bit integers.

A model in 8-bit integers names them, and says for whoever lacks them what operators of onnxruntime
they are made of (functions in ONNX; `asr.export.int8` writes them). Where this package was compiled
and its kernels know the processor, onnxruntime takes them from here instead, and has twenty
operators to call for a chunk instead of some hundreds.

    LogMel          samples [N, TAIL], audio [N, S] -> [F, N, MELS], the next samples: standardised
                    features, as `asr.nn.frontend` has them
    Unfold          x [2 T, N, C], state [N, C, 1] -> [T, N, 3 C], the next state: each second frame
                    between its neighbours, for a convolution to be a product
    RowConvolution  x [T, N, C], state [N, C, k] -> [T, N, C], the next state: each frame and the k
                    behind it, weighed [k + 1, C], of x behind the k frames of the state
    Int8Linear      x [..., K] -> [..., N], `x W' + b`; each x is quantised by its largest value
    Int8GRU         a [T, N, 3 H], state [N, H] -> states [T, N, H], the last one [N, H]: a GRU
                    after `state`, from the products a of its inputs, reset behind the product
    Int8GRULayer    x [T, N, H], state [1, N, H] -> [T, N, H], the last state: x and a GRU of it
                    behind layer norm

Linear and GRU have an axis of groups before the last where units stand in groups; the layer finds
the groups one behind the other. Weights lie in blocks, `asr.export.quantise.in_blocks`; beside them
there are the sums of each output's weights, their scales (on a state one for each group), and the
biases. LogMel takes half of the window too, and the Fourier transform's cosines and sines, which
only those who lack it need.
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
