"""From one sampling rate to another, in a stream that can be taken up elsewhere."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from asr.errors import AudioError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Audio = NDArray[np.float32]

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
MEMORY_SECONDS, MEMORY_SAMPLES = 0.25, 4096
"""The resampler's delay and half its filter are shorter than the longer of the two."""
NOTHING: Audio = np.zeros(0, np.float32)


def checked_rate(rate: float) -> int:
    """A sampling rate as an integer.

    Raises:
        AudioError: when it is none.
    """
    number = isinstance(rate, (int, float, np.integer, np.floating))
    if number and LOWEST_RATE <= rate <= HIGHEST_RATE and rate == int(rate):
        return int(rate)
    raise AudioError(
        f"expected a sampling rate of {LOWEST_RATE} to {HIGHEST_RATE} whole Hz, got {rate!r}"
    )


class Resampler:
    """Changes the sampling rate of a stream, whatever the cut of its blocks (soxr, HQ).

    Where it stands is told by two values, `position` and `recent`, from which `resume` makes
    another that goes on in the same way.

    Attributes:
        rate_in: samples per second that go in.
        rate_out: samples per second that come out.
        position: number of samples that went in, and that came out.
        recent: [n], the last samples that went in, none if the rates are the same. They begin where
            an output sample falls on an input sample, so that the phase of the filter is kept.
    """

    def __init__(self, rate_in: float, rate_out: float) -> None:
        self.rate_in, self.rate_out = checked_rate(rate_in), checked_rate(rate_out)
        self.position = (0, 0)
        self.recent = NOTHING
        common = math.gcd(self.rate_in, self.rate_out)
        self._period = self.rate_in // common, self.rate_out // common
        self._ahead = NOTHING
        self._behind = 0
        if self.rate_in != self.rate_out:
            import soxr

            self._soxr = soxr.ResampleStream(self.rate_in, self.rate_out, 1, dtype="float32")

    @classmethod
    def resume(
        cls, rate_in: float, rate_out: float, recent: Audio, consumed: int, produced: int
    ) -> Resampler:
        """Go on where another resampler was.

        Args:
            rate_in: as of the other.
            rate_out: as of the other.
            recent: the other's.
            consumed: the other's position.
            produced: the other's position.
        """
        resampler = cls(rate_in, rate_out)
        began = consumed - len(recent)
        inputs, outputs = resampler._period
        resampler.position = (began, began // inputs * outputs)
        resampler._behind = produced - resampler.position[1]
        resampler._ahead = resampler._fresh(resampler._run(recent, last=False))
        resampler._remember(recent)
        resampler.position = (consumed, produced)
        return resampler

    def step(self, audio: Audio) -> Audio:
        """Go on by [n] samples; gives those that are ready."""
        ready = self._behind_ahead(self._run(audio, last=False))
        self._remember(audio)
        self.position = (self.position[0] + len(audio), self.position[1] + len(ready))
        return ready

    def flush(self) -> Audio:
        """The rest; the stream is over."""
        rest = self._behind_ahead(self._run(NOTHING, last=True))
        self.position = (self.position[0], self.position[1] + len(rest))
        return rest

    def _run(self, audio: Audio, *, last: bool) -> Audio:
        if self.rate_in == self.rate_out:
            return audio
        output: Audio = self._soxr.resample_chunk(np.ascontiguousarray(audio), last=last)
        return output

    def _behind_ahead(self, output: Audio) -> Audio:
        """What is new, and before it what was ready when this resampler took over."""
        fresh = self._fresh(output)
        if len(self._ahead):
            fresh, self._ahead = np.concatenate([self._ahead, fresh]), NOTHING
        return fresh

    def _fresh(self, output: Audio) -> Audio:
        """What the resampler that this one goes on for has not given yet."""
        known = min(self._behind, len(output))
        self._behind -= known
        return output[known:]

    def _remember(self, audio: Audio) -> None:
        if self.rate_in == self.rate_out:
            return
        recent = np.concatenate([self.recent, audio])
        enough = max(math.ceil(MEMORY_SECONDS * self.rate_in), MEMORY_SAMPLES)
        surplus = max(0, len(recent) - enough)
        self.recent = recent[surplus // self._period[0] * self._period[0] :].copy()
