"""Manifests of a few utterances."""

from pathlib import Path

from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource

from asr.evaluation.utterances import Utterance, read_set

RATE = 16_000


def cut(path: Path, seconds: float, text: str, *, source: str | None = None, **where) -> MonoCut:
    """A cut of a recording of so many seconds; of all of it unless `where` says otherwise."""
    name = where.pop("name", path.stem)
    recording = Recording(
        name,
        [AudioSource("file", [0], str(path))],
        RATE,
        round(seconds * RATE),
        seconds,
    )
    custom = {"source": source} if source else None
    where = {"start": 0, "duration": seconds, **where}
    speech = SupervisionSegment(
        name, name, 0, where["duration"], text=text, speaker=where.pop("speaker", None),
        custom=custom,
    )  # fmt: skip
    return MonoCut(id=name, channel=0, recording=recording, supervisions=[speech], **where)


def write(path: Path, *cuts: MonoCut) -> Path:
    """A manifest of them."""
    CutSet.from_cuts(cuts).to_file(path)
    return path


def utterances(path: Path, *cuts: MonoCut) -> list[Utterance]:
    """What is read of such a manifest."""
    return read_set(write(path, *cuts))
