"""Word errors when all that a speaker says is one stream; BENCHMARKS.md has figures.

python scripts/long_streams.py models/en-small data/dev.jsonl.gz --pause 0.5
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

import asr
from asr.evaluation.scoring import Errors, score
from asr.evaluation.utterances import Utterance, read_set

CHUNK = 0.16
"""Seconds pushed at once."""


def sound(utterances: list[Utterance], rate: int, pause: float) -> Iterator[NDArray[np.float32]]:
    """The utterances one after the other, in chunks, with silence behind each."""
    silence = np.zeros(round(pause * rate), np.float32)
    samples = np.concatenate([np.append(each.samples(rate), silence) for each in utterances])
    yield from np.split(samples, range(round(CHUNK * rate), len(samples), round(CHUNK * rate)))


def main(
    model: Path,
    manifest: Annotated[Path, typer.Argument(metavar="SET")],
    pause: Annotated[float, typer.Option(help="Seconds of silence behind each utterance.")] = 0.5,
) -> None:
    """Measure."""
    recognizer = asr.load(model)
    rate = recognizer.bundle.settings.sample_rate
    speakers = defaultdict(list)
    for utterance in read_set(manifest):
        speakers[utterance.source, utterance.speaker].append(utterance)
    sources: dict[str, Errors] = defaultdict(Errors)
    for (source, _), utterances in speakers.items():
        stream = recognizer.stream()
        events = [e for chunk in sound(utterances, rate, pause) for e in stream.push(chunk, rate)]
        events += stream.flush()
        heard = " ".join(e.segment.text for e in events if isinstance(e, asr.Final))
        sources[source] += score(" ".join(each.text for each in utterances), heard).words
    sources["all"] = sum(sources.values(), Errors())
    for source, errors in sources.items():
        print(f"{source}: {errors.rate:.2%}")


if __name__ == "__main__":
    typer.run(main)
