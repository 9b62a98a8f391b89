"""Draw docs/demo.svg: what `asr demo` shows, moment by moment.

python scripts/draw_demo.py models/en-small
"""

from __future__ import annotations

import argparse
import io
import re
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

import asr
from asr.audio import read
from asr.cli.demo import CLIP

RATE = 16_000
CHUNK = 2560
MOMENT = 0.8
"""Seconds between two lines of one segment."""
PICTURE = Path(__file__).parents[1] / "docs" / "demo.svg"


def main() -> None:
    """Transcribe the clip and draw a line for each moment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    stream = asr.load(parser.parse_args().model).stream()
    console = Console(record=True, width=88, file=io.StringIO())
    samples = np.concatenate(list(read(CLIP, RATE)))
    shown = -MOMENT
    for begin in range(0, len(samples), CHUNK):
        for event in stream.push(samples[begin : begin + CHUNK], RATE):
            if isinstance(event, asr.Partial) and stream.time - shown >= MOMENT:
                shown = stream.time
                console.print(partial(event, stream.time))
            elif isinstance(event, asr.Final):
                console.print(final(event.segment, stream.time))
    for event in stream.flush():
        if isinstance(event, asr.Final):
            console.print(final(event.segment, stream.time))
    picture = console.export_svg(title="asr demo", unique_id="rill")
    # rich would have the reader's browser fetch a font
    picture = re.sub(r"@font-face {.*?}", "", picture, flags=re.DOTALL)
    PICTURE.write_text(picture, encoding="utf-8")


def partial(event: asr.Partial, time: float) -> Text:
    """What is stable in full colour, what may still change faint."""
    rest = event.text[len(event.stable) :]
    return Text.assemble((f"{time:5.1f} s  ", "dim"), event.stable, (rest, "dim italic"))


def final(segment: asr.Segment, time: float) -> Text:
    """A segment that is over."""
    return Text.assemble((f"{time:5.1f} s  ", "dim"), (segment.text, "bold green"))


if __name__ == "__main__":
    main()
