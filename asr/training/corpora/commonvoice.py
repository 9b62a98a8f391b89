"""Common Voice (Ardila et al. 2020), as unpacked from Mozilla's archive of one language."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from lhotse.recipes.commonvoice import COMMONVOICE_DEFAULT_SPLITS, COMMONVOICE_SPLITS

from asr.errors import TrainingError
from asr.training.corpora import BAD_LINE, Entries, Entry, Skipped


def splits(folder: Path, wanted: Sequence[str] = ()) -> dict[str, Entries]:
    """The clips of each subset.

    Args:
        folder: of the language, where `clips` and the tsv files are, or of the release, where `en`
            is.
        wanted: names of tsv files; none for those of train, dev and test that are there.

    Raises:
        TrainingError: when it is no such folder, or a subset is not there.
    """
    root = folder / "en" if (folder / "en" / "clips").is_dir() else folder
    if not (root / "clips").is_dir():
        raise TrainingError(f"{folder} holds neither clips/ nor en/clips/")
    there = [name for name in COMMONVOICE_SPLITS if (root / f"{name}.tsv").is_file()]
    missing = [name for name in wanted if name not in there]
    chosen = wanted or [name for name in there if name in COMMONVOICE_DEFAULT_SPLITS]
    if missing or not chosen:
        lacking = missing or sorted(COMMONVOICE_DEFAULT_SPLITS)
        raise TrainingError(
            f"{root} holds no {' nor '.join(f'{name}.tsv' for name in lacking)}; subsets that are "
            f"there: {', '.join(there) or 'none'}"
        )
    return {name: _clips(root, name) for name in chosen}


def _clips(root: Path, subset: str) -> Entries:
    """Rows of `SUBSET.tsv`: `client_id`, `path` and `sentence` are what is needed of them.

    Raises:
        TrainingError: when the file has no such columns.
    """
    path = root / f"{subset}.tsv"
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        lacking = {"client_id", "path", "sentence"} - set(rows.fieldnames or ())
        if lacking:
            raise TrainingError(f"{path} has no column {', '.join(sorted(lacking))}")
        for row in rows:
            client, clip, sentence = row["client_id"], row["path"], row["sentence"]
            if not clip or sentence is None:
                where = f"{path.name}:{rows.line_num}"
                yield Skipped(where, BAD_LINE, f"expected a path and a sentence, got {clip!r}")
                continue
            yield Entry(
                Path(clip).stem, root / "clips" / clip, sentence, client or None, "commonvoice"
            )
