"""Kaldi's log-mel filter bank, in products of matrices.

The window is the same from both ends and so are, about its middle, the cosines of a Fourier
transform, while its sines change their sign. So the two halves of a frame are added and subtracted
before they are multiplied, which takes half the products. The same module runs in training, on a
GPU, and inside the exported graph.
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
HALF = WINDOW // 2 - 1
"""Samples of half a frame that count: the window takes the first and the last one to zero."""
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


def povey_window() -> Tensor:
    """The first half of Povey's window, of the samples that count: [HALF]."""
    window = torch.hann_window(WINDOW, periodic=False, dtype=torch.float64) ** 0.85
    return window[1 : HALF + 1]


def fourier_kernels() -> tuple[Tensor, Tensor]:
    """Cosines and sines about the middle of a frame in Povey's window, [FFT / 2, HALF] each.

    For the samples from the second to the middle. A spectrum's power does not hang on where time
    begins.
    """
    time = torch.arange(1, HALF + 1, dtype=torch.float64)
    bins = torch.arange(FFT // 2, dtype=torch.float64)
    angle = 2 * math.pi / FFT * bins[:, None] * (time - (WINDOW - 1) / 2)
    window = povey_window()
    return window * angle.cos(), window * angle.sin()


class Frontend(nn.Module):
    """Log-mel features of a stream, in natural logarithm, without normalisation.

    They equal Kaldi's (`dither=0`, `snip_edges=False`) one frame later, but for the first two
    frames of a stream: outside of the signal Kaldi mirrors it, Rill reads zeros.
    """

    cosines: Tensor
    sines: Tensor
    mels: Tensor

    def __init__(self) -> None:
        super().__init__()
        mels = mel_matrix()
        used = mels.sum(0) > 0
        cosines, sines = (kernel[used] for kernel in fourier_kernels())
        self.register_buffer("cosines", cosines.float(), persistent=False)
        self.register_buffer("sines", sines.float(), persistent=False)
        self.register_buffer("mels", mels[:, used].float(), persistent=False)

    def start(self, streams: int) -> Tensor:
        """The tail of a stream that has not begun: [streams, TAIL] zeros."""
        return self.mels.new_zeros(streams, TAIL)

    def step(self, audio: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the frames that this audio completes.

        Args:
            audio: [N, S] samples in [-1, 1], S a multiple of HOP above 0.
            tail: [N, TAIL] samples before them.

        Returns:
            features [N, S / HOP, MELS] and the next tail.
        """
        samples = torch.cat([tail, audio], dim=1)
        frames = samples.unfold(1, WINDOW, HOP)
        centred = frames - frames.mean(-1, keepdim=True)
        emphasised = centred[..., 1:-1] - PREEMPHASIS * centred[..., :-2]
        first, second = emphasised.chunk(2, dim=-1)
        mirrored = second.flip(-1)
        real = F.linear(first + mirrored, self.cosines)
        imaginary = F.linear(first - mirrored, self.sines)
        energies = F.linear(real.square() + imaginary.square(), self.mels)
        features = energies.clamp(min=torch.finfo(torch.float32).eps).log()
        return features, samples[:, -TAIL:]
