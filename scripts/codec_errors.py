"""What telephones and codecs cost: word errors of a set as it is, and after each of them.

    python scripts/codec_errors.py models/en-small DEV.jsonl.gz --every 4

`--every 4` takes every fourth utterance; docs/training.md has the figures of that.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, NamedTuple

import av
import jiwer
import numpy as np
import typer
from numpy.typing import NDArray

import asr
from asr.audio import read
from asr.evaluation.listening import hear
from asr.evaluation.utterances import read_set

CHUNK = 0.16
"""Seconds that are pushed at once."""


class Codec(NamedTuple):
    """How sound is coded: FFmpeg's name of the codec, the rate in Hz, the container, bits per s."""

    name: str
    rate: int
    container: str
    bits: int | None = None


CODECS: dict[str, Codec | None] = {
    "as it is": None,
    "Opus, 24 kbit/s": Codec("libopus", 48_000, "ogg", 24_000),
    "Opus, 12 kbit/s": Codec("libopus", 48_000, "ogg", 12_000),
    "Opus, 8 kbit/s": Codec("libopus", 48_000, "ogg", 8_000),
    "MP3, 32 kbit/s": Codec("libmp3lame", 16_000, "mp3", 32_000),
    "MP3, 16 kbit/s": Codec("libmp3lame", 16_000, "mp3", 16_000),
    "G.722, 16 kHz": Codec("g722", 16_000, "wav"),
    "G.711 (mu-law), 8 kHz": Codec("pcm_mulaw", 8_000, "wav"),
}


def coded(samples: NDArray[np.float32], rate: int, codec: Codec) -> NDArray[np.float32]:
    """What is left of samples [S] when they were coded and decoded."""
    file = io.BytesIO()
    with av.open(file, "w", format=codec.container) as container:
        stream = container.add_stream(codec.name, rate=codec.rate, layout="mono")
        if codec.bits:
            stream.bit_rate = codec.bits
        resampler = av.AudioResampler(stream.format.name, "mono", codec.rate)
        whole = (samples.clip(-1, 1) * 32_767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
        frame.sample_rate = rate
        for each in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(each))
        container.mux(stream.encode(None))
    file.seek(0)
    return np.concatenate(list(read(file, rate)))[: len(samples)]


def main(
    model: Annotated[Path, typer.Argument(help="A model folder.")],
    manifest: Annotated[Path, typer.Argument(help="The set, as `asr prepare` wrote it.")],
    every: Annotated[int, typer.Option(help="Take every so manyth utterance.")] = 1,
) -> None:
    """Print a table."""
    recognizer = asr.load(model)
    rate = recognizer.bundle.settings.sample_rate
    utterances = read_set(manifest)[::every]
    sounds = [utterance.samples(rate) for utterance in utterances]
    print("| | words wrong |\n|---|---|")
    for name, codec in CODECS.items():
        heard = [
            hear(recognizer, coded(samples, rate, codec) if codec else samples, CHUNK).text
            for samples in sounds
        ]
        wrong = jiwer.wer([utterance.text for utterance in utterances], heard)
        print(f"| {name} | {wrong:.1%} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
