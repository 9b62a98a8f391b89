"""`asr demo`: a clip that ships, at the pace of speech."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from asr.cli.recognizers import Model, load

CLIP = Path(__file__).with_name("demo.flac")
CHUNK_SECONDS = 0.16


def demo(
    recording: Annotated[
        Path, typer.Argument(help="What to listen to; a synthesised clip if not given.")
    ] = CLIP,
    model: Model = None,
) -> None:
    """Show the words of a recording as they arrive, at the pace of speech."""
    from asr.audio import read
    from asr.cli.live import LiveText

    recognizer = load(model)
    rate = recognizer.bundle.settings.sample_rate
    stream = recognizer.stream()
    chunk = round(CHUNK_SECONDS * rate)
    with LiveText() as text:
        began = time.monotonic()
        for block in read(recording, rate):
            for begin in range(0, len(block), chunk):
                spoken = block[begin : begin + chunk]
                time.sleep(max(0.0, stream.time + len(spoken) / rate - (time.monotonic() - began)))
                text.show(stream.push(spoken, rate), spoken)
        text.show(stream.flush())
