"""From corpora to lhotse manifests: a file of cuts for each split, and the audio beside it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource

from asr.errors import TrainingError
from asr.nn.frontend import RATE

SPLITS = ("train", "dev", "test")


def prepare_shards(source: Path, target: Path) -> dict[str, int]:
    """Unpack speech that comes as `SPLIT.jsonl` with tar shards of Opus files.

    Writes `target/SPLIT.jsonl.gz` (a lhotse CutSet) and `target/audio/SPLIT/ID.opus`.

    Returns:
        utterances by split.

    Raises:
        TrainingError: when the folder holds no such speech, or a shard lacks an utterance.
    """
    found = [split for split in SPLITS if (source / f"{split}.jsonl").is_file()]
    if not found:
        raise TrainingError(f"{source} holds none of {', '.join(f'{s}.jsonl' for s in SPLITS)}")
    counts = {}
    for split in found:
        lines = [json.loads(line) for line in (source / f"{split}.jsonl").open(encoding="utf-8")]
        audio = target / "audio" / split
        audio.mkdir(parents=True, exist_ok=True)
        for shard in sorted({line["shard"] for line in lines}):
            with tarfile.open(source / shard) as archive:
                archive.extractall(audio, filter="data")
        CutSet.from_cuts(_cuts(lines, audio)).to_file(target / f"{split}.jsonl.gz")
        counts[split] = len(lines)
    return counts


def _cuts(lines: list[dict[str, Any]], audio: Path) -> Iterator[MonoCut]:
    for line in lines:
        path = audio / f"{line['id']}.opus"
        if not path.is_file():
            raise TrainingError(f"{line['shard']} lacks {path.name}, which its manifest names")
        samples = round(line["duration"] * RATE)
        yield MonoCut(
            id=line["id"],
            start=0,
            duration=samples / RATE,
            channel=0,
            recording=Recording(
                id=line["id"],
                sources=[AudioSource(type="file", channels=[0], source=str(path.resolve()))],
                sampling_rate=RATE,
                num_samples=samples,
                duration=samples / RATE,
            ),
            supervisions=[
                SupervisionSegment(
                    id=line["id"],
                    recording_id=line["id"],
                    start=0,
                    duration=samples / RATE,
                    text=line["text"],
                    speaker=line["speaker"],
                    custom={"source": line["source"]},
                )
            ],
        )
