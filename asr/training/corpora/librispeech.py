"""LibriSpeech and Mini LibriSpeech (Panayotov et al. 2015), as unpacked from openslr.org."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lhotse.recipes.librispeech import LIBRISPEECH, MINI_LIBRISPEECH

from asr.errors import TrainingError
from asr.training.corpora import NO_TRANSCRIPT, Entries, Entry, Skipped

SUBSETS = (*LIBRISPEECH, *MINI_LIBRISPEECH)


def splits(folder: Path, wanted: Sequence[str] = ()) -> dict[str, Entries]:
    """The utterances of each subset.

    Args:
        folder: `LibriSpeech`, or the folder that it lies in.
        wanted: names of subsets; none for all that are there.

    Raises:
        TrainingError: when a subset is not there, or none is.
    """
    root = folder / "LibriSpeech" if (folder / "LibriSpeech").is_dir() else folder
    there = [name for name in SUBSETS if (root / name).is_dir()]
    missing = [name for name in wanted if name not in there]
    if missing or not there:
        raise TrainingError(
            f"{root} holds no folder {' nor '.join(missing) or ' nor '.join(SUBSETS)}; subsets "
            f"that are there: {', '.join(there) or 'none'}"
        )
    return {name: _utterances(root / name) for name in wanted or there}


def _utterances(subset: Path) -> Entries:
    """`SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt` holds `ID TEXT`; `ID.flac` lies beside it."""
    for chapter in sorted(path for path in subset.glob("*/*") if path.is_dir()):
        spoken = {path.stem: path for path in chapter.glob("*.flac")}
        for name, text in _transcripts(chapter):
            path = spoken.pop(name, chapter / f"{name}.flac")
            yield Entry(name, path, text, name.partition("-")[0], "librispeech")
        for name, path in sorted(spoken.items()):
            yield Skipped(name, NO_TRANSCRIPT, f"no transcript file beside {path} names it")


def _transcripts(chapter: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(chapter.glob("*.trans.txt")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.strip():
                name, _, text = line.strip().partition(" ")
                yield name, text
