"""Word error rate of a model folder, streamed in chunks, by source of the speech.

python scripts/evaluate.py models/en-small ../shared/speech dev
"""

from __future__ import annotations

import argparse
import collections
import functools
import json
import multiprocessing
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import jiwer
import numpy as np

import asr
from asr.audio import read

RATE = 16_000


def main() -> None:
    """Print a line for each source and one for all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("speech", type=Path, help="folder with SPLIT.jsonl and tar shards")
    parser.add_argument("split")
    parser.add_argument("--chunk", type=float, default=0.16, help="seconds pushed at once")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--output", type=Path, help="write every hypothesis here, as JSON lines")
    options = parser.parse_args()

    manifest = (options.speech / f"{options.split}.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in manifest.splitlines()]
    with tempfile.TemporaryDirectory() as folder:
        for shard in sorted({line["shard"] for line in lines}):
            with tarfile.open(options.speech / shard) as archive:
                archive.extractall(folder, filter="data")
        work = functools.partial(
            transcribe, folder=folder, model=options.model, chunk=round(options.chunk * RATE)
        )
        with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
            lines = pool.map(work, lines, chunksize=8)
    if options.output:
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        options.output.write_text(text, encoding="utf-8")
    report(lines)


@functools.cache
def load(model: Path) -> asr.Recognizer:
    """One recogniser per process."""
    return asr.load(model)


def transcribe(line: dict[str, Any], folder: str, model: Path, chunk: int) -> dict[str, Any]:
    """The manifest's line with what was heard."""
    samples = np.concatenate(list(read(Path(folder) / f"{line['id']}.opus", RATE)))
    stream = load(model).stream()
    events = []
    for begin in range(0, len(samples), chunk):
        events += stream.push(samples[begin : begin + chunk], RATE)
    events += stream.flush()
    heard = [event.segment.text for event in events if isinstance(event, asr.Final)]
    return {**line, "heard": " ".join(heard)}


def report(lines: list[dict[str, Any]]) -> None:
    """Print word errors by source, and of all."""
    groups = collections.defaultdict(list)
    for line in lines:
        groups[line["source"]].append(line)
        groups["all"].append(line)
    print("| source | utterances | words | word errors | substituted | deleted | inserted |")
    print("|---|---|---|---|---|---|---|")
    for source, group in sorted(groups.items(), key=lambda item: item[0] == "all"):
        out = jiwer.process_words([g["text"] for g in group], [g["heard"] for g in group])
        words = out.hits + out.substitutions + out.deletions
        shares = (out.substitutions, out.deletions, out.insertions)
        print(
            f"| {source} | {len(group)} | {words} | {out.wer:.1%} | "
            + " | ".join(f"{share / words:.1%}" for share in shares)
            + " |"
        )


if __name__ == "__main__":
    main()
