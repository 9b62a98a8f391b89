"""An evaluation as one HTML file that needs nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

import asr
from asr.evaluation import plots
from asr.evaluation.alignment import log_probabilities
from asr.evaluation.summary import ALL, worst
from asr.evaluation.tables import milliseconds, percent, tables
from asr.evaluation.timing import spread

if TYPE_CHECKING:
    from asr.evaluation.runner import Outcome
    from asr.evaluation.summary import Evaluation, Row, Summary
    from asr.recognizer import Recognizer

WORST = 20
"""Utterances that the page lists."""
DRAWN = 8.0
"""Seconds of an utterance that are drawn, at most."""


def to_html(evaluation: Evaluation) -> str:
    """The page.

    Raises:
        AsrError: when an utterance that is drawn cannot be read any more.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("asr.evaluation", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    summary = evaluation.summary
    return environment.get_template("report.html").render(
        manifest=evaluation.manifest,
        conditions=evaluation.conditions,
        version=asr.__version__,
        headlines=_headlines(summary),
        figures=_figures(summary),
        tables=tables(summary),
        worst=[(outcome, _marked(outcome)) for outcome in worst(evaluation.outcomes, WORST)],
        utterances=_utterances(evaluation),
        drawn=DRAWN,
    )


def _headlines(summary: Summary) -> dict[str, str]:
    timing = summary.timings[ALL]
    median, high = spread(timing.emission)
    return {
        "word errors": percent(summary.whole.words.rate),
        "character errors": percent(summary.whole.characters.rate),
        "word delay, median": milliseconds(median),
        "word delay, 95%": milliseconds(high),
        "partial words changed": percent(timing.flicker),
        "calibration error": percent(summary.confidences.error),
    }


def _figures(summary: Summary) -> dict[str, Markup]:
    figures = {
        "Word errors by source": plots.error_by_group(summary.sources),
        "Word errors by length": plots.error_by_group(summary.lengths),
        "Emission delay": plots.delays(summary),
        "Reliability of confidences": plots.reliability(summary.confidences.bins),
    }
    if summary.noise:
        figures["Word errors in noise"] = plots.error_by_ratio(summary)
    return {title: Markup(figure) for title, figure in figures.items()}


def _marked(outcome: Outcome) -> list[tuple[str, str]]:
    """The words said and heard in order, each with what it is: `hit`, `del` or `ins`."""
    said, heard = outcome.utterance.text.split(), outcome.hearing.words
    marked = []
    for edit in outcome.score.edits:
        if edit.hit and edit.said is not None:
            marked.append(("hit", said[edit.said]))
            continue
        if edit.said is not None:
            marked.append(("del", said[edit.said]))
        if edit.heard is not None:
            marked.append(("ins", heard[edit.heard].text))
    return marked


def _utterances(evaluation: Evaluation) -> list[tuple[Outcome, Markup]]:
    """Of each source the utterance that comes closest to its error rate, drawn."""
    recognizer = asr.load(evaluation.conditions.model, graph=None)
    typical = [_typical(evaluation, row) for row in evaluation.summary.sources[:-1]]
    return [(outcome, Markup(_drawn(recognizer, outcome))) for outcome in typical]


def _typical(evaluation: Evaluation, row: Row) -> Outcome:
    clean = (outcome for outcome in evaluation.outcomes if outcome.snr is None)
    outcomes = [outcome for outcome in clean if outcome.utterance.source == row.name]
    return min(outcomes, key=lambda outcome: abs(outcome.score.words.rate - row.words.rate))


def _drawn(recognizer: Recognizer, outcome: Outcome) -> str:
    """The beginning of an utterance."""
    bundle = recognizer.bundle
    rate = bundle.settings.sample_rate
    samples = outcome.utterance.samples(rate)
    log_probs = log_probabilities(recognizer.acoustic, samples)
    said = zip(outcome.utterance.text.split(), outcome.spans or (), strict=False)
    return plots.utterance(
        samples[: round(DRAWN * rate)],
        rate,
        log_probs[: round(DRAWN / bundle.frame_seconds)],
        bundle.tokens,
        bundle.frame_seconds,
        [word for word in outcome.hearing.words if word.end < DRAWN],
        [(word, span) for word, span in said if span.end < DRAWN],
    )
