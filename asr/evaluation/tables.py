"""The figures of a summary as tables, for the terminal and for the page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr.evaluation.scoring import COVERAGE, DRAWS
from asr.evaluation.timing import mean_absolute, spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from asr.evaluation.calibration import Reliability
    from asr.evaluation.summary import Row, Summary
    from asr.evaluation.timing import Timing

MISSING = "–"  # noqa: RUF001


@dataclass(frozen=True)
class Table:
    """Text in rows and columns.

    Attributes:
        title: what it shows.
        note: how to read it.
        columns: their headings; the first column names the rows.
        rows: a text for each column.
    """

    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]


def tables(summary: Summary) -> list[Table]:
    """All tables of an evaluation."""
    return [
        _errors("Errors by source", summary.sources),
        _errors("Errors by length of the utterance", summary.lengths),
        *([_noise(summary)] if summary.noise else []),
        _timing(summary.timings),
        _confidences(summary.confidences),
        *([_noisy_confidences(summary)] if summary.noise else []),
    ]


def percent(share: float) -> str:
    """A share in percent, to a tenth."""
    return MISSING if math.isnan(share) else f"{share:.1%}"


def milliseconds(seconds: float) -> str:
    """A time in whole milliseconds."""
    return MISSING if math.isnan(seconds) else f"{1000 * seconds:.0f} ms"


def bounds(interval: tuple[float, float]) -> str:
    """An interval of shares."""
    low, high = interval
    return MISSING if math.isnan(low) else f"{100 * low:.1f} to {100 * high:.1f}%"


def _errors(title: str, rows: list[Row]) -> Table:
    note = (
        f"In the interval lie {COVERAGE}% of {DRAWS} draws of as many speakers from these. Of few "
        "speakers it is rough, of one it says nothing."
    )
    columns = ["", "utterances", "speakers", "words", "word errors", "interval"]
    if chosen := any(row.oracle != row.words for row in rows):
        columns.append("oracle")
        note += " The oracle knows what was said and chooses among each segment's alternatives."
    columns += ["substituted", "deleted", "inserted", "character errors", "interval"]
    return Table(title, note, columns, [_error_cells(row, oracle=chosen) for row in rows])


def _error_cells(row: Row, *, oracle: bool) -> list[str]:
    words = row.words
    kinds = (words.substitutions, words.deletions, words.insertions)
    return [
        row.name,
        str(row.utterances),
        str(row.speakers),
        str(words.length),
        percent(words.rate),
        bounds(row.word_interval),
        *([percent(row.oracle.rate)] if oracle else []),
        *(percent(kind / words.length if words.length else math.nan) for kind in kinds),
        percent(row.characters.rate),
        bounds(row.character_interval),
    ]


def _noise(summary: Summary) -> Table:
    passes = {"clean": summary.sources}
    passes |= {f"{snr:g} dB": rows for snr, rows in summary.noise.items()}
    return Table(
        "Word errors by ratio of speech to noise",
        "Noise clips that training never hears, mixed into the waveform.",
        ["", *(row.name for row in summary.sources)],
        [
            [name, *(f"{percent(row.words.rate)} ({bounds(row.word_interval)})" for row in rows)]
            for name, rows in passes.items()
        ],
    )


MEASURES: dict[str, Callable[[Timing], str]] = {
    "emission delay of a correct word": lambda timing: _spread(timing.emission),
    "first word's start to first partial": lambda timing: _spread(timing.first),
    "last word's end to the final": lambda timing: _spread(timing.final),
    "words of partials changed later": lambda timing: percent(timing.flicker),
    "error of word starts, mean absolute": lambda t: milliseconds(mean_absolute(t.starts)),
    "error of word ends, mean absolute": lambda t: milliseconds(mean_absolute(t.ends)),
    "shift of word starts, median": lambda timing: milliseconds(spread(timing.starts)[0]),
    "shift of word ends, median": lambda timing: milliseconds(spread(timing.ends)[0]),
    "correct words measured": lambda timing: str(len(timing.emission)),
    "utterances not aligned": lambda timing: str(timing.unaligned),
    "utterances without an endpoint": lambda timing: str(timing.unended),
}


def _spread(seconds: list[float]) -> str:
    median, high = spread(seconds)
    return f"{milliseconds(median)}, {milliseconds(high)}"


def _timing(timings: dict[str, Timing]) -> Table:
    return Table(
        "Time",
        "In audio time, against forced alignment; median, 95th percentile. The wait until a chunk "
        "is full is counted in, the time that computing takes is not.",
        ["", *timings],
        [[name, *map(measure, timings.values())] for name, measure in MEASURES.items()],
    )


def _confidences(confidences: Reliability) -> Table:
    return Table(
        "Confidence of words",
        f"Expected calibration error {percent(confidences.error)}, area under the ROC curve "
        f"{confidences.area:.3f}.",
        ["confidence", "words", "mean confidence", "correct"],
        [
            [
                f"{b.low:.1f} to {b.high:.1f}",
                str(b.words),
                percent(b.confidence),
                percent(b.correct),
            ]
            for b in confidences.bins
        ],
    )


def _noisy_confidences(summary: Summary) -> Table:
    passes = {"clean": summary.confidences}
    passes |= {f"{snr:g} dB": heard for snr, heard in summary.noisy_confidences.items()}
    return Table(
        "Confidence of words by ratio of speech to noise",
        "Calibration error is the expected one, area that under the ROC curve.",
        ["", "words", "mean confidence", "correct", "calibration error", "area"],
        [
            [
                name,
                str(heard.words),
                percent(heard.confidence),
                percent(heard.correct),
                percent(heard.error),
                f"{heard.area:.3f}",
            ]
            for name, heard in passes.items()
        ],
    )
