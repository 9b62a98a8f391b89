"""What telephones, codecs and rooms cost: word errors of a set as it is, and after each of them.

    python scripts/channels.py models/en-small DEV.jsonl.gz --every 4

`--every 4` takes every fourth utterance; docs/training.md has the figures of that.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import jiwer
import numpy as np
import typer
from numpy.typing import NDArray

import asr
from asr.evaluation.listening import hear
from asr.evaluation.utterances import read_set
from asr.nn.frontend import RATE
from asr.training.codecs import TELEPHONE, Codec, coded
from asr.training.rooms import in_room, responses

Samples = NDArray[np.float32]
Channel = Callable[[Samples], Samples]

CHUNK = 0.16
"""Seconds that are pushed at once."""


def through(codec: Codec) -> Channel:
    """Samples [S] that were coded and decoded."""
    return lambda samples: coded(samples, codec)


def in_rooms(longest: float) -> Channel:
    """Each samples [S] in another simulated room, whose echo takes up to `longest` seconds."""
    rooms = responses(1, longest)
    return lambda samples: in_room(samples, next(rooms))


CHANNELS: dict[str, Channel] = {
    "as it is": lambda samples: samples,
    "Opus, 24 kbit/s": through(Codec("libopus", 48_000, "ogg", 24_000)),
    "Opus, 12 kbit/s": through(Codec("libopus", 48_000, "ogg", 12_000)),
    "Opus, 8 kbit/s": through(Codec("libopus", 48_000, "ogg", 8_000)),
    "MP3, 32 kbit/s": through(Codec("libmp3lame", 16_000, "mp3", 32_000)),
    "MP3, 16 kbit/s": through(Codec("libmp3lame", 16_000, "mp3", 16_000)),
    "AMR, 12.2 kbit/s": through(Codec("libopencore_amrnb", 8_000, "amr", 12_200)),
    "AMR, 5.15 kbit/s": through(Codec("libopencore_amrnb", 8_000, "amr", 5_150)),
    "G.722, 16 kHz": through(Codec("g722", 16_000, "wav")),
    "G.711 (mu-law), 8 kHz": through(TELEPHONE),
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
    utterances = read_set(manifest)[::every]
    sounds = [utterance.samples(RATE) for utterance in utterances]
    print("| | words wrong |\n|---|---|")
    for name, channel in CHANNELS.items():
        if not name.startswith(only):
            continue
        heard = [hear(recognizer, channel(samples), CHUNK).text for samples in sounds]
        wrong = jiwer.wer([utterance.text for utterance in utterances], heard)
        print(f"| {name} | {wrong:.1%} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
