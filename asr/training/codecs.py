"""Speech as it comes out of a telephone call, a voice message or a recording of few bits."""

from __future__ import annotations

import io
from typing import NamedTuple

import av
import numpy as np
from av.codec.codec import UnknownCodecError

from asr.audio import read
from asr.errors import TrainingError
from asr.nn.frontend import RATE
from asr.training.augment import Floats


class Codec(NamedTuple):
    """How sound is coded.

    Attributes:
        name: FFmpeg's name of the codec.
        rate: samples per second.
        container: FFmpeg's name of what it lies in.
        bits: per second; None where the codec leaves no choice.
    """

    name: str
    rate: int
    container: str
    bits: int | None = None


TELEPHONE = Codec("pcm_mulaw", 8_000, "wav")
"""G.711."""
MOBILE = tuple(
    Codec("libopencore_amrnb", 8_000, "amr", bits)
    for bits in (4_750, 5_150, 5_900, 6_700, 7_400, 7_950, 10_200, 12_200)
)
"""AMR narrow-band in all its modes (3GPP TS 26.071)."""
MESSAGES = tuple(Codec("libopus", 48_000, "ogg", bits) for bits in range(6_000, 17_000, 1_000))
"""Opus where it leaves out most."""
RECORDINGS = tuple(Codec("libmp3lame", 16_000, "mp3", bits) for bits in (16_000, 24_000, 32_000))
KINDS = ((TELEPHONE,), MOBILE, MESSAGES, RECORDINGS)


def any_codec(rng: np.random.Generator) -> Codec:
    """One of a kind, each kind as often as the others."""
    kind = KINDS[rng.integers(len(KINDS))]
    return kind[rng.integers(len(kind))]


def coded(samples: Floats, codec: Codec) -> Floats:
    """What is left of samples [S] at RATE, in [-1, 1], when they were coded and decoded: [S].

    Raises:
        TrainingError: when FFmpeg was built without the codec.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=codec.container) as container:
        try:
            stream = container.add_stream(codec.name, rate=codec.rate, layout="mono")
        except UnknownCodecError:
            raise TrainingError(
                f"this FFmpeg cannot write {codec.name}; the wheels of PyAV can: pip install av"
            ) from None
        if codec.bits:
            stream.bit_rate = codec.bits
        resampler = av.AudioResampler(stream.format.name, "mono", codec.rate)
        whole = (samples.clip(-1, 1) * 32_767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
        frame.sample_rate = RATE
        for each in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(each))
        container.mux(stream.encode(None))
    file.seek(0)
    decoded = np.concatenate(list(read(file, RATE)))[: len(samples)]
    return np.pad(decoded, (0, len(samples) - len(decoded)))
