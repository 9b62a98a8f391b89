"""Sounds made for tests, and recordings of them in every format."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CODECS = {
    "wav": "pcm_s16le",
    "flac": "flac",
    "mp3": "libmp3lame",
    "ogg": "flac",
    "opus": "libopus",
    "m4a": "aac",
    "webm": "libopus",
}


def tone(seconds: float, rate: int = 16_000, frequency: float = 440.0) -> np.ndarray:
    """A tone at half of full scale."""
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


def record(
    path: Path,
    samples: np.ndarray,
    rate: int = 16_000,
    *,
    codec: str | None = None,
    bits: int | None = None,
    video: bool = False,
) -> Path:
    """Write [n] or [n, channels] as the suffix says, with a picture before it if asked.

    `bits` are per second.
    """
    channels = samples[:, None] if samples.ndim == 1 else samples
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels.shape[1]]
    with av.open(str(path), "w") as container:
        if video:
            picture = container.add_stream("mpeg4", rate=10)
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        audio = container.add_stream(codec or CODECS[path.suffix[1:]], rate=rate, layout=layout)
        if bits:
            audio.bit_rate = bits
        if video:
            black = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            for packet in [*picture.encode(black), *picture.encode(None)]:
                container.mux(packet)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(channels.T, np.float32), format="fltp", layout=layout
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(
            audio.format.name, layout, rate, frame_size=audio.frame_size or 1024
        )
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            for packet in audio.encode(piece):
                container.mux(packet)
    return path
