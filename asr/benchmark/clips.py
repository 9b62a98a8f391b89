"""The sound to measure with: recordings, with their transcripts where there are any."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asr.audio import read
from asr.errors import AsrError, AudioError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

SETS = (".jsonl", ".jsonl.gz")
"""Ends of the names of manifests."""


@dataclass(frozen=True)
class Clip:
    """A recording in memory.

    Attributes:
        name: of the recording.
        samples: [S] in [-1, 1], at the model's rate.
        text: what is said; None if unknown.
    """

    name: str
    samples: NDArray[np.float32]
    text: str | None


def read_clips(
    paths: Sequence[Path], rate: int, count: int | None = None, seed: int = 0
) -> list[Clip]:
    """Read recordings, the transcript of each from a `.txt` of its name beside it; and sets.

    Args:
        paths: recordings of any format, and manifests as `asr prepare` writes.
        rate: samples per second to give.
        count: draw so many of them; None for all.
        seed: of the draw.

    Raises:
        AudioError: when one cannot be read, or is empty.
        AsrError: when a manifest cannot be read.
    """
    known = [entry for path in paths for entry in _entries(path)]
    if count is not None and count < len(known):
        known = [known[i] for i in sorted(random.Random(seed).sample(range(len(known)), count))]
    return [_read(*entry, rate) for entry in known]


Entry = tuple[str, Path, str | None, float, float | None]
"""Name, recording, text, seconds of its begin and end."""


def _entries(path: Path) -> Iterator[Entry]:
    if not path.name.endswith(SETS):
        text = path.with_suffix(".txt")
        said = " ".join(text.read_text(encoding="utf-8").split()) if text.is_file() else None
        yield path.stem, path, said, 0.0, None
        return
    try:
        from asr.evaluation.utterances import read_set
    except ModuleNotFoundError as error:
        raise AsrError(
            f"a set such as {path} needs {error.name}: install it with pip install "
            "'rill-asr[eval]', or name recordings"
        ) from None
    for one in read_set(path):
        yield one.id, Path(one.path), one.text, one.begin, one.end


def _read(
    name: str, path: Path, text: str | None, begin: float, end: float | None, rate: int
) -> Clip:
    samples = np.concatenate(list(read(path, rate)) or [np.zeros(0, np.float32)])
    samples = samples[round(begin * rate) : None if end is None else round(end * rate)]
    if not len(samples):
        raise AudioError(f"{path} holds no sound; leave it out")
    return Clip(name, samples, text)
