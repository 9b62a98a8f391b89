"""The speech to evaluate on: utterances of a lhotse manifest, with text, speaker and source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from lhotse import CutSet

from asr.audio import read
from asr.errors import AsrError, AudioError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Utterance:
    """What somebody said, and where it is recorded.

    Attributes:
        id: of the cut.
        text: what was said, in words.
        speaker: who said it; without a name every utterance is a speaker of its own.
        source: corpus that it comes from; `unknown` when the manifest does not say.
        path: of the recording.
        begin: seconds of the recording before the utterance.
        end: seconds of the recording up to its end; None when it is the recording's.
    """

    id: str
    text: str
    speaker: str
    source: str
    path: str
    begin: float = 0.0
    end: float | None = None

    def samples(self, rate: int) -> NDArray[np.float32]:
        """Its sound, [S] in [-1, 1].

        Raises:
            AudioError: when it cannot be read.
        """
        audio = np.concatenate(list(read(self.path, rate)))
        end = None if self.end is None else round(self.end * rate)
        audio = audio[round(self.begin * rate) : end]
        if not len(audio):
            raise AudioError(f"{self.path} has no sound at {self.begin:.2f} s, where {self.id} is")
        return audio


def read_set(manifest: Path) -> list[Utterance]:
    """The utterances of a manifest.

    Args:
        manifest: a lhotse CutSet, as `asr prepare` writes; a cut holds one supervision with text.

    Raises:
        AsrError: when it is missing, is no such manifest, or is empty.
    """
    if not manifest.is_file():
        raise AsrError(f"there is no manifest {manifest}; `asr prepare` makes one of a corpus")
    try:
        utterances = [_utterance(cut) for cut in CutSet.from_file(manifest)]
    except AsrError as error:
        raise AsrError(f"{manifest}: {error}") from None
    except Exception as error:  # lhotse lets every kind through
        raise AsrError(f"{manifest} is no lhotse manifest of cuts: {error!r}") from None
    if not utterances:
        raise AsrError(f"{manifest} holds no utterance")
    return utterances


def _utterance(cut: Any) -> Utterance:
    supervisions = cut.supervisions
    if len(supervisions) != 1 or supervisions[0].text is None:
        raise AsrError(
            f"cut {cut.id} holds {len(supervisions)} supervisions, expected one with text; "
            "lhotse's `trim_to_supervisions` makes such cuts"
        )
    sources = cut.recording.sources if cut.has_recording else []
    if len(sources) != 1 or sources[0].type != "file":
        raise AsrError(f"cut {cut.id} is not of one audio file")
    supervision = supervisions[0]
    whole = cut.end >= cut.recording.duration - 1e-3
    return Utterance(
        cut.id,
        " ".join(supervision.text.split()),
        supervision.speaker or cut.id,
        (supervision.custom or {}).get("source", "unknown"),
        sources[0].source,
        cut.start,
        None if whole else cut.end,
    )
