"""Real speech for tests: `RILL_SPEECH`, or `../shared/speech` beside the repository."""

import functools
import json
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from asr.audio import read

ROOT = Path(__file__).parents[1]
SPEECH = Path(os.environ.get("RILL_SPEECH", ROOT.parent / "shared" / "speech"))


@dataclass(frozen=True)
class Utterance:
    """A recording and its transcript; `samples` are float32 at 16 kHz."""

    id: str
    source: str
    text: str
    path: Path

    @functools.cached_property
    def samples(self) -> np.ndarray:
        return np.concatenate(list(read(self.path, 16_000)))


@functools.cache
def _unpacked(split: str) -> Path:
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="rill-speech-"))
    with tarfile.open(SPEECH / f"{split}-00.tar") as archive:
        archive.extractall(folder, filter="data")
    return folder


def utterances(split: str, count: int, source: str | None = None) -> list[Utterance]:
    """The first utterances of a split, of one source if it is given."""
    manifest = SPEECH / f"{split}.jsonl"
    if not manifest.is_file():
        pytest.skip(f"real speech is not at {SPEECH}; set RILL_SPEECH to where it is")
    lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    chosen = [line for line in lines if source in (None, line["source"])][:count]
    folder = _unpacked(split)
    return [
        Utterance(line["id"], line["source"], line["text"], folder / f"{line['id']}.opus")
        for line in chosen
    ]
