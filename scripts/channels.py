"""What telephones, codecs and rooms cost: word errors of a set as it is, and after each of them.

    python scripts/channels.py models/en-small DEV.jsonl.gz --every 4

`--every 4` takes every fourth utterance; docs/training.md has the figures of that.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
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
from asr.training.rooms import in_room, responses

Samples = NDArray[np.float32]
Channel = Callable[[Samples, int], Samples]

CHUNK = 0.16
"""Seconds that are pushed at once."""


class Codec(NamedTuple):
    """How sound is coded: FFmpeg's name of the codec, the rate in Hz, the container, bits per s."""

    name: str
    rate: int
    container: str
    bits: int | None = None


def coded(codec: Codec, samples: Samples, rate: int) -> Samples:
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


def in_rooms(longest: float) -> Channel:
    """Each samples [S] in another simulated room, whose echo takes up to `longest` seconds."""
    rooms = responses(1, longest)
    return lambda samples, _: in_room(samples, next(rooms))


CHANNELS: dict[str, Channel] = {
    "as it is": lambda samples, _: samples,
    "Opus, 24 kbit/s": partial(coded, Codec("libopus", 48_000, "ogg", 24_000)),
    "Opus, 12 kbit/s": partial(coded, Codec("libopus", 48_000, "ogg", 12_000)),
    "Opus, 8 kbit/s": partial(coded, Codec("libopus", 48_000, "ogg", 8_000)),
    "MP3, 32 kbit/s": partial(coded, Codec("libmp3lame", 16_000, "mp3", 32_000)),
    "MP3, 16 kbit/s": partial(coded, Codec("libmp3lame", 16_000, "mp3", 16_000)),
    "G.722, 16 kHz": partial(coded, Codec("g722", 16_000, "wav")),
    "G.711 (mu-law), 8 kHz": partial(coded, Codec("pcm_mulaw", 8_000, "wav")),
    "rooms, up to 0.3 s": in_rooms(0.3),
    "rooms, up to 0.8 s": in_rooms(0.8),
}


def main(
    model: Annotated[Path, typer.Argument(help="A model folder.")],
    manifest: Annotated[Path, typer.Argument(help="The set, as `asr prepare` wrote it.")],
    every: Annotated[int, typer.Option(help="Take every so manyth utterance.")] = 1,
    only: Annotated[str, typer.Option(help="Rows that begin like this.")] = "",
) -> None:
    """Print a table."""
    recognizer = asr.load(model)
    rate = recognizer.bundle.settings.sample_rate
    utterances = read_set(manifest)[::every]
    sounds = [utterance.samples(rate) for utterance in utterances]
    print("| | words wrong |\n|---|---|")
    for name, channel in CHANNELS.items():
        if not name.startswith(only):
            continue
        heard = [hear(recognizer, channel(samples, rate), CHUNK).text for samples in sounds]
        wrong = jiwer.wer([utterance.text for utterance in utterances], heard)
        print(f"| {name} | {wrong:.1%} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
