"""Kaldi's log-mel filter bank as two convolutions and a logarithm.

Every step between the samples and the spectrum (DC removal, pre-emphasis, window, Fourier
transform) is linear, so all of them fold into a single strided convolution. The same module runs
in training, on a GPU, and inside the exported graph.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RATE = 16_000
"""Samples per second."""
WINDOW = RATE * 25 // 1000
HOP = RATE * 10 // 1000
FFT = 512
MELS = 80
LOW, HIGH = 20.0, 7600.0
"""Edges of the filter bank in Hz."""
PREEMPHASIS = 0.97
TAIL = WINDOW - (WINDOW - HOP) // 2
"""Samples carried from chunk to chunk.

Kaldi centres frame i on hop i (`snip_edges=False`): it covers samples [HOP i - 120, HOP i + 280).
Its last sample is 280 ahead, so a frame is complete one hop late, and the frame that a step of
HOP samples completes begins 280 samples before it.
"""
FLOOR = math.log(torch.finfo(torch.float32).eps)
"""The feature of digital silence: log of the smallest energy."""


def mel_scale(hertz: Tensor) -> Tensor:
    """Mel of a frequency in Hz, `1127 ln(1 + f / 700)` (HTK book, 5.4)."""
    return 1127.0 * torch.log1p(hertz / 700.0)


def mel_edges() -> Tensor:
    """Where the filters begin, peak and end, each a step behind the other, in mel: [MELS + 2]."""
    low, high = mel_scale(torch.tensor([LOW, HIGH], dtype=torch.float64))
    return torch.linspace(float(low), float(high), MELS + 2, dtype=torch.float64)


def mel_centres() -> Tensor:
    """Where each filter peaks, in Hz: [MELS]."""
    return 700.0 * torch.expm1(mel_edges()[1:-1] / 1127.0)


def mel_matrix() -> Tensor:
    """Triangular filters in the mel domain, [MELS, FFT / 2], as Kaldi's `MelBanks` has them."""
    edges = mel_edges()
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    mel = mel_scale(torch.arange(FFT // 2, dtype=torch.float64) * RATE / FFT)
    rising, falling = (mel - left) / (centre - left), (right - mel) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0)


def fourier_kernel() -> Tensor:
    """From WINDOW raw samples to real and imaginary parts of the spectrum, [FFT, WINDOW]."""
    identity = torch.eye(WINDOW, dtype=torch.float64)
    centred = identity - 1 / WINDOW
    previous = torch.cat([identity[:1], identity[:-1]])
    emphasis = identity - PREEMPHASIS * previous
    povey = torch.hann_window(WINDOW, periodic=False, dtype=torch.float64) ** 0.85
    bins = torch.arange(FFT // 2, dtype=torch.float64)
    angle = -2 * math.pi / FFT * bins[:, None] * torch.arange(WINDOW, dtype=torch.float64)
    fourier = torch.cat([angle.cos(), angle.sin()])
    return fourier @ torch.diag(povey) @ emphasis @ centred


def on_differences(kernel: Tensor) -> Tensor:
    """The same kernel for differences of neighbouring samples, [rows, WINDOW - 1].

    With the mean taken out every row sums to zero, so it can be summed by parts:
    `sum k_i x_i = sum -(k_0 + ... + k_i) (x_{i+1} - x_i)`. A constant offset, which would drown
    faint bins in float32's rounding, then vanishes before it is multiplied.
    """
    return -kernel.cumsum(dim=1)[:, :-1]


class Frontend(nn.Module):
    """Log-mel features of a stream, in natural logarithm, without normalisation.

    They equal Kaldi's (`dither=0`, `snip_edges=False`) one frame later, but for the first two
    frames of a stream: outside of the signal Kaldi mirrors it, Rill reads zeros.
    """

    kernel: Tensor
    mels: Tensor

    def __init__(self) -> None:
        super().__init__()
        mels = mel_matrix()
        used = mels.sum(0) > 0
        self.register_buffer("mels", mels[:, used].float()[:, :, None], persistent=False)
        kernel = on_differences(fourier_kernel()[used.repeat(2)])
        self.register_buffer("kernel", kernel.float()[:, None], persistent=False)

    def start(self, streams: int) -> Tensor:
        """The tail of a stream that has not begun: [streams, TAIL] zeros."""
        return self.kernel.new_zeros(streams, TAIL)

    def step(self, audio: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the frames that this audio completes.

        Args:
            audio: [N, S] samples in [-1, 1], S a multiple of HOP above 0.
            tail: [N, TAIL] samples before them.

        Returns:
            features [N, S / HOP, MELS] and the next tail.
        """
        samples = torch.cat([tail, audio], dim=1)
        differences = samples[:, 1:] - samples[:, :-1]
        spectrum = F.conv1d(differences[:, None], self.kernel, stride=HOP)
        real, imaginary = spectrum.chunk(2, dim=1)
        energies = F.conv1d(real.square() + imaginary.square(), self.mels)
        features = energies.clamp(min=torch.finfo(torch.float32).eps).log()
        return features.transpose(1, 2), samples[:, -TAIL:]
