"""Everything that an evaluation found, as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import asr
from asr.evaluation.timing import mean_absolute, spread

if TYPE_CHECKING:
    from asr.evaluation.calibration import Reliability
    from asr.evaluation.runner import Outcome
    from asr.evaluation.scoring import Errors
    from asr.evaluation.summary import Evaluation, Row
    from asr.evaluation.timing import Timing


def to_json(evaluation: Evaluation) -> str:
    """Conditions, figures, and every utterance; times in seconds, shares in [0, 1].

    What cannot be told, such as the delay of no words, is null.
    """
    summary = evaluation.summary
    facts = {
        "rill": asr.__version__,
        "set": str(evaluation.manifest),
        "conditions": {name: _plain(value) for name, value in vars(evaluation.conditions).items()},
        "sources": [_row(row) for row in summary.sources],
        "lengths": [_row(row) for row in summary.lengths],
        "noise": [
            {
                "snr": snr,
                "sources": [_row(row) for row in rows],
                "calibration": _calibration(summary.noisy_confidences[snr]),
            }
            for snr, rows in summary.noise.items()
        ],
        "timings": {name: _timing(timing) for name, timing in summary.timings.items()},
        "calibration": _calibration(summary.confidences),
        "utterances": [_outcome(outcome) for outcome in evaluation.outcomes],
    }
    return json.dumps(_finite(facts), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, float, tuple, type(None))) else str(value)


def _finite(value: Any) -> Any:
    """The same with None for what is not finite, which JSON has no word for."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "utterances": row.utterances,
        "speakers": row.speakers,
        "words": {**_errors(row.words), "interval": row.word_interval},
        "oracle": _errors(row.oracle),
        "characters": {**_errors(row.characters), "interval": row.character_interval},
    }


def _errors(errors: Errors) -> dict[str, Any]:
    return {**asdict(errors), "length": errors.length, "rate": errors.rate}


def _timing(timing: Timing) -> dict[str, Any]:
    spreads = {"emission": timing.emission, "first": timing.first, "final": timing.final}
    return {
        **{
            name: dict(zip(("median", "percentile_95"), spread(values), strict=True))
            for name, values in spreads.items()
        },
        "flicker": timing.flicker,
        "start_error": mean_absolute(timing.starts),
        "end_error": mean_absolute(timing.ends),
        "start_shift": spread(timing.starts)[0],
        "end_shift": spread(timing.ends)[0],
        "correct_words": len(timing.emission),
        "unaligned": timing.unaligned,
        "unended": timing.unended,
    }


def _calibration(confidences: Reliability) -> dict[str, Any]:
    return {
        "words": confidences.words,
        "correct": confidences.correct,
        "mean_confidence": confidences.confidence,
        "expected_error": confidences.error,
        "area_under_roc": confidences.area,
        "bins": [asdict(one) for one in confidences.bins],
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    utterance = outcome.utterance
    return {
        "id": utterance.id,
        "source": utterance.source,
        "speaker": utterance.speaker,
        "snr": outcome.snr,
        "text": utterance.text,
        "heard": outcome.hearing.text,
        "words": [asdict(word) for word in outcome.hearing.words],
        "aligned": None if outcome.spans is None else [asdict(span) for span in outcome.spans],
        "errors": _errors(outcome.score.words),
    }
