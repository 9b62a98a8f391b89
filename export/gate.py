"""Whether a model in 8-bit integers understands as well as in 32-bit floats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import asr
from asr.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

ALLOWED = 0.02
"""How much the word error rate may rise, as a share of itself."""
CHUNK = 0.16
"""Seconds that are pushed at once."""
DRAWS = 1000
"""Resamples of the bootstrap, by utterance; the middle 95 % of them are the interval."""


@dataclass(frozen=True)
class Gate:
    """What was measured.

    Attributes:
        words: of the reference, by utterance.
        errors: [utterances, 2] word errors in floats and in integers.
    """

    words: NDArray[np.int64]
    errors: NDArray[np.int64]

    @property
    def rates(self) -> tuple[float, float]:
        """Word error rate in floats and in integers."""
        fp32, int8 = self.errors.sum(axis=0) / self.words.sum()
        return float(fp32), float(int8)

    @property
    def rise(self) -> float:
        """Of the word error rate, as a share of that in floats."""
        fp32, int8 = self.errors.sum(axis=0)
        return float((int8 - fp32) / max(fp32, 1))

    @property
    def interval(self) -> tuple[float, float]:
        """Of the rise, by a bootstrap over utterances that keeps the two results together."""
        count = len(self.words)
        draws = np.random.default_rng(0).integers(0, count, (DRAWS, count))
        fp32, int8 = self.errors[draws].sum(axis=1).T
        low, high = np.percentile((int8 - fp32) / np.maximum(fp32, 1), [2.5, 97.5])
        return float(low), float(high)

    def check(self) -> None:
        """Raises ExportError when the word error rate rises by more than ALLOWED."""
        if self.rise > ALLOWED:
            raise ExportError(
                f"int8 costs too much, {ALLOWED:.0%} is allowed: {self}; nothing was written. "
                "Export with --no-int8, or train on"
            )

    def __str__(self) -> str:
        (fp32, int8), (low, high) = self.rates, self.interval
        return (
            f"word error rate {fp32:.2%} in fp32 and {int8:.2%} in int8, {self.rise:+.1%} "
            f"relative ({low:+.1%} to {high:+.1%}), {len(self.words)} utterances"
        )


def measure(folder: Path, manifest: Path) -> Gate:
    """Compare the two precisions of a model folder, streamed through its dictation graph.

    Args:
        folder: of the model.
        manifest: utterances with their words, as `asr prepare` writes.

    Raises:
        AsrError: when something cannot be read.
    """
    from asr.evaluation.scoring import score
    from asr.evaluation.utterances import read_set

    utterances = read_set(manifest)
    recognizers = [asr.load(folder, precision=precision) for precision in ("fp32", "int8")]
    rate = recognizers[0].bundle.settings.sample_rate
    words, errors = [], []
    for utterance in utterances:
        samples = utterance.samples(rate)
        scores = [score(utterance.text, _text(one, samples, rate)) for one in recognizers]
        words.append(scores[0].words.length)
        errors.append([score.words.total for score in scores])
    return Gate(np.array(words), np.array(errors))


def _text(recognizer: asr.Recognizer, samples: NDArray[np.float32], rate: int) -> str:
    stream = recognizer.stream()
    chunk = round(CHUNK * rate)
    pieces = (samples[begin : begin + chunk] for begin in range(0, len(samples), chunk))
    events: Iterable[asr.Event] = [event for piece in pieces for event in stream.push(piece, rate)]
    finals = [event for event in (*events, *stream.flush()) if isinstance(event, asr.Final)]
    return " ".join(final.segment.text for final in finals)
