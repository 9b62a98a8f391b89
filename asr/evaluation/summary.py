"""The figures of an evaluation, from the outcomes of its utterances."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr.evaluation.calibration import Reliability
from asr.evaluation.scoring import Errors, interval
from asr.evaluation.timing import Timing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from asr.evaluation.runner import Conditions, Outcome

ALL = "all"
LENGTHS = {
    "up to 5 words": range(6),
    "6 to 10 words": range(6, 11),
    "11 to 20 words": range(11, 21),
    "more than 20 words": range(21, sys.maxsize),
}
"""Classes of utterances, by the words that were said."""


@dataclass(frozen=True, slots=True)
class Row:
    """Error rates of some utterances.

    Attributes:
        name: of the group.
        utterances: how many.
        speakers: how many.
        words: errors of words.
        word_interval: bounds of the word error rate, by speaker.
        characters: errors of characters.
        character_interval: bounds of the character error rate, by speaker.
        oracle: errors of words if the best of each segment's alternatives had been chosen.
    """

    name: str
    utterances: int
    speakers: int
    words: Errors
    word_interval: tuple[float, float]
    characters: Errors
    character_interval: tuple[float, float]
    oracle: Errors

    @classmethod
    def of(cls, name: str, outcomes: Sequence[Outcome]) -> Row:
        """The row of a group."""
        speakers = [outcome.utterance.speaker for outcome in outcomes]
        words = [outcome.score.words for outcome in outcomes]
        characters = [outcome.score.characters for outcome in outcomes]
        return cls(
            name,
            len(outcomes),
            len(set(speakers)),
            sum(words, Errors()),
            interval(words, speakers),
            sum(characters, Errors()),
            interval(characters, speakers),
            sum((outcome.oracle for outcome in outcomes), Errors()),
        )


@dataclass(frozen=True)
class Summary:
    """Everything that is reported.

    Attributes:
        sources: error rates by source, that of all as the last.
        lengths: error rates by length of the utterance.
        noise: by signal-to-noise ratio in dB, error rates as in `sources`; empty without noise.
        timings: by source, that of all as the last.
        confidences: how far those of words can be relied on.
        noisy_confidences: the same by signal-to-noise ratio.
    """

    sources: list[Row]
    lengths: list[Row]
    noise: dict[float, list[Row]]
    timings: dict[str, Timing]
    confidences: Reliability
    noisy_confidences: dict[float, Reliability]

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Summary:
        """Sum up, clean and noisy ones apart; there is at least one clean."""
        clean = [outcome for outcome in outcomes if outcome.snr is None]
        ratios = sorted({o.snr for o in outcomes if o.snr is not None}, reverse=True)
        noisy = {snr: [o for o in outcomes if o.snr == snr] for snr in ratios}
        return cls(
            sources=_by_source(clean),
            lengths=_by_length(clean),
            noise={snr: _by_source(group) for snr, group in noisy.items()},
            timings={
                name: Timing.all(outcome.timing for outcome in group)
                for name, group in _sources(clean).items()
            },
            confidences=_reliability(clean),
            noisy_confidences={snr: _reliability(group) for snr, group in noisy.items()},
        )

    @property
    def whole(self) -> Row:
        """Error rates of all utterances."""
        return self.sources[-1]


def worst(outcomes: Iterable[Outcome], count: int) -> list[Outcome]:
    """The clean utterances with the most word errors for each word said, the worst first."""
    clean = [outcome for outcome in outcomes if outcome.snr is None and outcome.score.words.total]

    def badness(outcome: Outcome) -> tuple[float, int]:
        words = outcome.score.words
        return words.total / max(1, words.length), words.total

    return sorted(clean, key=badness, reverse=True)[:count]


def _by_source(outcomes: Sequence[Outcome]) -> list[Row]:
    return [Row.of(name, group) for name, group in _sources(outcomes).items()]


def _by_length(outcomes: Sequence[Outcome]) -> list[Row]:
    groups = {
        name: [outcome for outcome in outcomes if outcome.score.words.length in lengths]
        for name, lengths in LENGTHS.items()
    }
    return [Row.of(name, group) for name, group in groups.items() if group]


def _sources(outcomes: Sequence[Outcome]) -> dict[str, Sequence[Outcome]]:
    """The outcomes of each source in alphabetical order, and all of them."""
    names = sorted({outcome.utterance.source for outcome in outcomes})
    groups: dict[str, Sequence[Outcome]] = {
        name: [outcome for outcome in outcomes if outcome.utterance.source == name]
        for name in names
    }
    return {**groups, ALL: outcomes}


def _reliability(outcomes: Sequence[Outcome]) -> Reliability:
    """That of the confidences of all words heard."""
    heard = [
        (outcome.hearing.words[edit.heard].confidence, edit.hit)
        for outcome in outcomes
        for edit in outcome.score.edits
        if edit.heard is not None
    ]
    return Reliability.of([value for value, _ in heard], [hit for _, hit in heard])


@dataclass(frozen=True)
class Evaluation:
    """A set as a model heard it.

    Attributes:
        manifest: of the set.
        conditions: how it was heard.
        outcomes: of every utterance, clean and with noise.
        summary: their figures.
    """

    manifest: Path
    conditions: Conditions
    outcomes: list[Outcome]
    summary: Summary
