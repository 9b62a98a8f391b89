"""Speech in tar files of one clip an utterance, beside a file of JSON lines for each split."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path

from asr.errors import TrainingError
from asr.training.corpora import BAD_LINE, Entries, Entry, Skipped
from asr.training.corpora.jsonl import lines

SPLITS = ("train", "dev", "test")
FIELDS = ("id", "shard", "text", "speaker", "source")


def splits(folder: Path, audio: Path) -> dict[str, Entries]:
    """The utterances of each split; its audio is unpacked to `audio/SPLIT` on the way.

    Args:
        folder: holds `SPLIT.jsonl`, whose lines have FIELDS, and the shards, which hold `ID.opus`.
        audio: where the audio goes.

    Raises:
        TrainingError: when the folder holds no such speech.
    """
    found = [split for split in SPLITS if (folder / f"{split}.jsonl").is_file()]
    if not found:
        raise TrainingError(f"{folder} holds none of {', '.join(f'{s}.jsonl' for s in SPLITS)}")
    return {split: _utterances(folder, split, audio / split) for split in found}


def _utterances(folder: Path, split: str, audio: Path) -> Entries:
    """Utterances of a split, their audio unpacked.

    Raises:
        TrainingError: when a shard cannot be unpacked.
    """
    audio.mkdir(parents=True, exist_ok=True)
    unpacked = set()
    for where, line in lines(folder / f"{split}.jsonl"):
        if not isinstance(line, Mapping) or not all(
            isinstance(line.get(field), str) for field in FIELDS
        ):
            yield Skipped(where, BAD_LINE, f"expected strings {', '.join(FIELDS)}")
            continue
        if line["shard"] not in unpacked:
            unpacked.add(line["shard"])
            _unpack(folder / line["shard"], audio)
        path = audio / f"{line['id']}.opus"
        yield Entry(line["id"], path, line["text"], line["speaker"], line["source"])


def _unpack(shard: Path, audio: Path) -> None:
    try:
        with tarfile.open(shard) as archive:
            archive.extractall(audio, filter="data")
    except (OSError, tarfile.TarError) as error:
        raise TrainingError(f"cannot unpack {shard}: {error}") from None
