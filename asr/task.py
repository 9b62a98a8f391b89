"""What is listened for in a segment, and what the segment has to say about that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asr.errors import UsageError

if TYPE_CHECKING:
    from asr.decoding.grammar import Grammar
    from asr.decoding.hypothesis import Search, Words
    from asr.decoding.nbest import Hypothesis
    from asr.decoding.phrases import Phrase
    from asr.results import Match

ACCEPTED = 0.5
"""A grammar's sentence that is less likely said is rejected."""
MOST_ALTERNATIVES = 100


@dataclass(frozen=True)
class Verdict:
    """How a segment is read that is over.

    Attributes:
        words: with frames counted from the beginning of the segment.
        confidence: how likely a grammar's sentence was said, in [0, 1]; None without a grammar.
        accepted: whether that is enough, and the words are a whole sentence.
        match: what a whole sentence of a grammar means.
        alternatives: the likeliest hypotheses, if they are asked for.
        after: see `Task.behind`.
    """

    words: Words
    confidence: float | None = None
    accepted: bool = True
    match: Match | None = None
    alternatives: tuple[Hypothesis, ...] = ()
    after: int | None = None


@dataclass(frozen=True)
class Task:
    """What is listened for in a segment.

    Attributes:
        search: log-probabilities to words.
        grammar: what alone may be said; the search is one in its graph. None if anything may be.
        phrases: what the search's graph makes likelier.
        nbest: how many hypotheses are asked for; with 1 there are no alternatives.
    """

    search: Search[Any]
    grammar: Grammar | None = None
    phrases: tuple[Phrase, ...] = ()
    nbest: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.nbest <= MOST_ALTERNATIVES:
            raise UsageError(f"expected nbest of 1 to {MOST_ALTERNATIVES}, got {self.nbest}")

    def read(self, state: Any) -> Verdict:
        """Reads a segment behind which nothing follows, from the state of the search.

        A segment with only the beginning of a grammar's sentence is rejected with that.
        """
        if self.grammar is None:
            said = self.search.finish(state)
            after = self.behind(state, len(said))
            return Verdict(said, alternatives=self._alternatives(state), after=after)
        search: Any = self.search
        end = search.finished(state)
        sentence = search.words(end)
        if not sentence:
            return Verdict(search.words(state), confidence=0.0, accepted=False)
        confidence = search.options.confidence(end.reading.spans.deficit(state.log_probs))
        return Verdict(
            sentence,
            confidence,
            confidence >= ACCEPTED,
            self.grammar.match(search.labels(end)),
            self._alternatives(state),
        )

    def begin(self, after: int | None) -> Any:
        """Where the search stands before a segment's first frame, after `behind` that before it."""
        search: Any = self.search
        return None if after is None else search.start(after)

    def behind(self, state: Any, count: int) -> int | None:
        """Where the language model stands behind the first words of a segment.

        Args:
            state: of the search.
            count: how many words.

        Returns:
            a state of the search's graph; None where nothing is known of it, or in a grammar, in
            which nothing follows a sentence.
        """
        behind = None if self.grammar else getattr(self.search, "behind", None)
        return None if behind is None else behind(state, count)

    def _alternatives(self, state: Any) -> tuple[Hypothesis, ...]:
        if self.nbest == 1:
            return ()
        from asr.decoding.nbest import alternatives
        from asr.decoding.rescoring import RescoredSearch

        if isinstance(self.search, RescoredSearch):
            return tuple(self.search.alternatives(state, self.nbest))
        search: Any = self.search
        return tuple(alternatives(search, state, self.nbest))
