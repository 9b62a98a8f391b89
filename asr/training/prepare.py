"""From corpora to lhotse manifests: a file of cuts for each split, and a list of what is not in."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lhotse import CutSet, MonoCut

from asr.errors import TrainingError
from asr.training.corpora import Entries, Skipped, commonvoice, jsonl, librispeech, shards
from asr.training.corpora.check import checked

SKIPPED = "skipped.tsv"
COLUMNS = ["manifest", "id", "reason", "detail"]


@dataclass(frozen=True)
class Prepared:
    """What became of a split.

    Attributes:
        manifest: the lhotse CutSet that was written.
        utterances: in it.
        hours: of them.
        skipped: how many utterances are not in it, by reason.
    """

    manifest: Path
    utterances: int
    hours: float
    skipped: Counter[str]


def prepare_shards(folder: Path, target: Path) -> Iterator[Prepared]:
    """Prepare what `asr.training.corpora.shards` reads, and unpack it to `target/audio`."""
    return _prepare(shards.splits(folder, target / "audio"), target)


def prepare_librispeech(
    folder: Path, target: Path, subsets: Sequence[str] = ()
) -> Iterator[Prepared]:
    """Prepare what `asr.training.corpora.librispeech` reads."""
    return _prepare(librispeech.splits(folder, subsets), target)


def prepare_commonvoice(
    folder: Path, target: Path, subsets: Sequence[str] = ()
) -> Iterator[Prepared]:
    """Prepare what `asr.training.corpora.commonvoice` reads."""
    return _prepare(commonvoice.splits(folder, subsets), target)


def prepare_manifest(path: Path, target: Path) -> Iterator[Prepared]:
    """Prepare what `asr.training.corpora.jsonl` reads."""
    return _prepare({path.stem: jsonl.utterances(path)}, target)


def _prepare(splits: dict[str, Entries], target: Path) -> Iterator[Prepared]:
    """Write `SPLIT.jsonl.gz` for each split, and to `skipped.tsv` what is not in them.

    Raises:
        TrainingError: when nothing of a split can be used.
    """
    target.mkdir(parents=True, exist_ok=True)
    for split, entries in splits.items():
        manifest = target / f"{split}.jsonl.gz"
        cuts: list[MonoCut] = []
        skipped: list[Skipped] = []
        for result in checked(split, entries):
            if isinstance(result, Skipped):
                skipped.append(result)
            else:
                cuts.append(result)
        _list_skipped(target / SKIPPED, manifest.name, skipped)
        reasons = Counter(item.reason for item in skipped)
        if not cuts:
            why = counted(reasons) or "it is empty"
            raise TrainingError(f"nothing of {split} can be used: {why}; see {target / SKIPPED}")
        CutSet.from_cuts(cuts).to_file(manifest)
        yield Prepared(manifest, len(cuts), sum(cut.duration for cut in cuts) / 3600, reasons)


def counted(reasons: Counter[str]) -> str:
    """Reasons with their numbers, the most frequent first."""
    return ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())


def _list_skipped(path: Path, manifest: str, skipped: Iterable[Skipped]) -> None:
    """Replace the rows of a manifest; those of others in the same folder stay."""
    rows: list[list[str]] = []
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            known = list(csv.reader(file, "excel-tab"))[1:]
        rows = [row for row in known if row[0] != manifest]
    rows += [[manifest, item.id, item.reason, item.detail] for item in skipped]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, "excel-tab", lineterminator="\n").writerows([COLUMNS, *rows])
