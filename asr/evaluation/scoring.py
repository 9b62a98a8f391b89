"""Word and character errors, and how far chance may have moved them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jiwer
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

DRAWS = 1000
"""Resamples of the bootstrap."""
COVERAGE = 95
"""Percent of the resamples that lie within an interval."""


@dataclass(frozen=True, slots=True)
class Errors:
    """Words or characters that were right and wrong."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )

    @property
    def total(self) -> int:
        """All errors."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def length(self) -> int:
        """Of what was said."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Errors for each that was said; NaN where nothing was said."""
        return self.total / self.length if self.length else float("nan")


@dataclass(frozen=True, slots=True)
class Edit:
    """A step of the alignment of what was said and what was heard; places count words from 0.

    Attributes:
        said: place of a word that was said; None for an insertion.
        heard: place of a word that was heard; None for a deletion.
        hit: whether they are the same word.
    """

    said: int | None
    heard: int | None
    hit: bool


@dataclass(frozen=True, slots=True)
class Score:
    """One utterance, heard beside said.

    Attributes:
        words: errors of words.
        characters: errors of characters, spaces included.
        edits: what turns the words said into the words heard.
    """

    words: Errors
    characters: Errors
    edits: tuple[Edit, ...]


def score(said: str, heard: str) -> Score:
    """Compare two texts by their words (Levenshtein distance)."""
    out = jiwer.process_words(said, heard)
    characters = jiwer.process_characters(said, heard)
    edits = tuple(edit for chunk in out.alignments[0] for edit in _edits(chunk))
    return Score(_errors(out), _errors(characters), edits)


def oracle(said: str, segments: Sequence[Sequence[str]]) -> Errors:
    """The errors if someone who knows what was said chose among the alternatives of each segment.

    They are chosen segment by segment, each while the others stay as they are.

    Args:
        said: what was said.
        segments: the texts that each segment could have been, the best first.
    """
    chosen = [texts[0] for texts in segments]
    for place, texts in enumerate(segments):
        trials = [" ".join([*chosen[:place], text, *chosen[place + 1 :]]) for text in texts]
        errors = [_errors(jiwer.process_words(said, trial)).total for trial in trials]
        chosen[place] = texts[errors.index(min(errors))]
    return _errors(jiwer.process_words(said, " ".join(chosen)))


def _errors(out: jiwer.WordOutput | jiwer.CharacterOutput) -> Errors:
    return Errors(out.hits, out.substitutions, out.deletions, out.insertions)


def _edits(chunk: jiwer.AlignmentChunk) -> list[Edit]:
    said = range(chunk.ref_start_idx, chunk.ref_end_idx)
    heard = range(chunk.hyp_start_idx, chunk.hyp_end_idx)
    if chunk.type == "insert":
        return [Edit(None, place, False) for place in heard]
    if chunk.type == "delete":
        return [Edit(place, None, False) for place in said]
    return [Edit(*places, chunk.type == "equal") for places in zip(said, heard, strict=True)]


def interval(errors: Sequence[Errors], speakers: Sequence[Hashable]) -> tuple[float, float]:
    """Confidence interval of the error rate, by bootstrap.

    Speakers are drawn with replacement, not utterances: those of one speaker err alike (Bisani and
    Ney 2004). With few speakers the bounds are rough, with one they say nothing (they coincide).

    Args:
        errors: of each utterance.
        speakers: of each utterance.

    Returns:
        the middle COVERAGE percent of DRAWS resamples.
    """
    known = {speaker: row for row, speaker in enumerate(dict.fromkeys(speakers))}
    counts = np.zeros((len(known), 2))
    for one, speaker in zip(errors, speakers, strict=True):
        counts[known[speaker]] += one.total, one.length
    draws = np.random.default_rng(0).integers(0, len(known), (DRAWS, len(known)))
    total, length = counts[draws].sum(axis=1).T
    rates = total[length > 0] / length[length > 0]
    if not len(rates):
        return float("nan"), float("nan")
    rest = (100 - COVERAGE) / 2
    low, high = np.percentile(rates, [rest, 100 - rest])
    return float(low), float(high)
