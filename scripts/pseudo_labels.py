"""Speech without text becomes speech to train on: what a model hears in it, where it is sure.

python scripts/pseudo_labels.py models/en-base unlabelled.jsonl -o data/pseudo.jsonl

Each line of the input is `{"id": NAME, "path": FILE}`, the file relative to the list. The output is
for `asr prepare manifest`; its manifest and another one behind each other are one manifest:
`cat data/train.jsonl.gz data/pseudo.jsonl.gz > data/both.jsonl.gz`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

import asr
from asr.recognizer import Recognizer

recognizer: Recognizer


@dataclass(frozen=True)
class Heard:
    """A recording, its words, and how sure the model is of them, 0 if it could not be read."""

    name: str
    audio: Path
    words: tuple[str, ...]
    confidence: float
    seconds: float


def load(model: Path) -> None:
    """Give this process a model."""
    global recognizer
    recognizer = asr.load(model)


def hear(recording: tuple[str, Path]) -> Heard:
    """Transcribe one recording."""
    name, audio = recording
    try:
        words = [word for each in recognizer.transcribe(audio) for word in each.words]
    except asr.AsrError as error:
        print(f"{audio}: {error}")
        words = []
    if not words:
        return Heard(name, audio, (), 0.0, 0.0)
    confidence = sum(word.confidence for word in words) / len(words)
    return Heard(name, audio, tuple(word.text for word in words), confidence, words[-1].end)


def heard(model: Path, recordings: list[tuple[str, Path]], jobs: int) -> Iterator[Heard]:
    """Transcribe all, in order."""
    with multiprocessing.get_context("spawn").Pool(jobs, load, (model,)) as pool:
        yield from pool.imap(hear, recordings, chunksize=8)


def kept(everything: Iterable[Heard], confidence: float, words: int) -> Iterator[Heard]:
    """Those with enough words that the model is sure enough of."""
    for each in everything:
        if each.confidence >= confidence and len(each.words) >= words:
            yield each


def main() -> None:
    """Write the manifest, and say how much was kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("list", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--confidence", type=float, default=0.65, help="mean of the words', least")
    parser.add_argument("--words", type=int, default=3, help="least number of words")
    parser.add_argument("-j", "--jobs", type=int, default=multiprocessing.cpu_count())
    arguments = parser.parse_args()
    lines = arguments.list.read_text(encoding="utf-8").splitlines()
    folder = arguments.list.resolve().parent
    recordings = [(line["id"], folder / line["path"]) for line in map(json.loads, lines)]
    everything = track(
        heard(arguments.model, recordings, arguments.jobs), "listening", len(recordings)
    )
    count, seconds = 0, 0.0
    with arguments.output.open("w", encoding="utf-8") as file:
        for each in kept(everything, arguments.confidence, arguments.words):
            line = {"id": each.name, "audio": str(each.audio), "text": " ".join(each.words)}
            file.write(json.dumps(line) + "\n")
            count, seconds = count + 1, seconds + each.seconds
    print(f"kept {count} of {len(recordings)} recordings, {seconds / 3600:.1f} h")


if __name__ == "__main__":
    main()
