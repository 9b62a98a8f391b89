"""From log-probabilities to events: partials that only grow at their stable end, and finals."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.endpoint import Endpointer, Quiet
from asr.results import (
    Alternative,
    Event,
    Final,
    Partial,
    Rejected,
    Segment,
    SpeechEnd,
    SpeechStart,
    Word,
)
from asr.task import Task, Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from asr.decoding.hypothesis import DecodedWord, Texts
    from asr.decoding.nbest import Hypothesis

LOOK = 8
"""Frames between two looks at what is stable."""
PRE_ROLL = 10
"""Frames of silence before a segment that are heard again with the next one."""


@dataclass(frozen=True)
class SegmentState:
    """A segment as far as it has been heard; frames of words count from its beginning.

    Attributes:
        task: what is listened for in it.
        begin: its first frame, counted from the first frame of the stream.
        after: where the language model stands behind the segment before; see `Task.behind`.
        quiet: how it has sounded.
        search: state of the search; None before its first frame.
        texts: the best words so far, stable ones included.
        stable: how many of them will not change any more.
        shown: the last partial; None before the first word.
    """

    task: Task
    begin: int = 0
    after: int | None = None
    quiet: Quiet = field(default_factory=Quiet)
    search: Any = None
    texts: Texts = ()
    stable: int = 0
    shown: Partial | None = None


@dataclass(frozen=True)
class Segmenter:
    """The stage behind the acoustic model.

    A word is stable once all hypotheses of the search share it. That is looked at on fixed frames
    of the segment, so that the cut of the stream has no part in it.

    Attributes:
        task: what is listened for in segments that begin.
        endpointer: when a segment ends.
        origin: time of the stream's first frame, in seconds.
        end: time at which the stream ends, in seconds, when it is known; no word ends later.
    """

    task: Task
    endpointer: Endpointer
    origin: float = 0.0
    end: float = math.inf

    def step(
        self, log_probs: NDArray[np.float32], state: SegmentState | None = None
    ) -> tuple[list[Event], SegmentState]:
        """Hear T more frames.

        Args:
            log_probs: [T, V], token 0 is blank.
            state: what the step before gave; None at the start.

        Returns:
            what came of them, at most one Partial and that as the last; and the next state.
        """
        state = state or SegmentState(self.task)
        events: list[Event] = []
        while len(log_probs):
            count, reason, quiet = self.endpointer.step(log_probs, state.quiet)
            state = self._read(log_probs[:count], state, quiet)
            log_probs = log_probs[count:]
            if reason is None:
                break
            heard = state.search.log_probs
            if reason == "longest" and state.stable and not state.task.grammar:
                words = state.task.search.finish(state.search)[: state.stable]
                verdict = Verdict(words, after=state.task.behind(state.search, len(words)))
                resume = verdict.words[-1].end
            else:
                verdict = state.task.read(state.search)
                resume = len(heard) - min(PRE_ROLL, quiet.silent // 2)
            events += self._over(verdict, state)
            log_probs = np.concatenate([heard[resume:], log_probs])
            after = verdict.after if self.task is state.task else None
            state = SegmentState(self.task, state.begin + resume, after)
        partial, state = self._partial(state)
        return events + partial, state

    def flush(self, state: SegmentState | None) -> list[Event]:
        """End the segment here; the next one has to begin with no state."""
        if state is None or state.search is None:
            return []
        return self._over(state.task.read(state.search), state)

    def resumed(self, log_probs: NDArray[np.float32], state: SegmentState) -> SegmentState:
        """Make a state from the frames of a segment, [T, V], and what else is known of it."""
        begun = SegmentState(state.task, state.begin, state.after)
        heard = self._read(log_probs, begun, state.quiet)
        return replace(heard, shown=state.shown)

    def _read(
        self, log_probs: NDArray[np.float32], state: SegmentState, quiet: Quiet
    ) -> SegmentState:
        """Search through frames of one segment, with a look wherever one is due.

        How the segment has sounded behind them is known already.
        """
        frames, search = state.quiet.frames, state.task.search
        texts, reached, stable = state.texts, state.search, state.stable
        if reached is None and len(log_probs):
            reached = state.task.begin(state.after)
        begin = 0
        while begin < len(log_probs):
            end = min(len(log_probs), begin + LOOK - (frames + begin) % LOOK)
            texts, reached = search.step(log_probs[begin:end], reached)
            if (frames + end) % LOOK == 0:
                stable = search.stable(reached)
            begin = end
        return SegmentState(
            state.task, state.begin, state.after, quiet, reached, texts, stable, state.shown
        )

    def _partial(self, state: SegmentState) -> tuple[list[Event], SegmentState]:
        text, stable = " ".join(state.texts), " ".join(state.texts[: state.stable])
        if state.shown and (text, stable) == (state.shown.text, state.shown.stable):
            return [], state
        events: list[Event] = []
        if state.shown is None:
            onset = state.task.search.onset(state.search) if state.texts else None
            if onset is None:
                return [], state
            events = [SpeechStart(self._time(state, onset))]
        partial = Partial(text, stable, self._time(state, state.quiet.frames))
        return [*events, partial], replace(state, shown=partial)

    def _over(self, verdict: Verdict, state: SegmentState) -> list[Event]:
        """The events at the end of a segment."""
        if not verdict.words:
            return [] if state.shown is None else [SpeechEnd(self._time(state, state.quiet.frames))]
        segment = self._segment(verdict, state)
        started: list[Event] = [SpeechStart(segment.start)] if state.shown is None else []
        result = Final(segment) if verdict.accepted else Rejected(segment)
        return [*started, result, SpeechEnd(segment.end)]

    def _segment(self, verdict: Verdict, state: SegmentState) -> Segment:
        words = tuple(self._word(word, state) for word in verdict.words)
        confidence = verdict.confidence
        if confidence is None:
            confidence = sum(word.confidence for word in words) / len(words)
        likeliest = max((each.score for each in verdict.alternatives), default=0.0)
        return Segment(
            " ".join(word.text for word in words),
            words[0].start,
            words[-1].end,
            confidence,
            words,
            tuple(self._alternative(each, likeliest, state) for each in verdict.alternatives),
            verdict.match,
        )

    def _alternative(
        self, hypothesis: Hypothesis, likeliest: float, state: SegmentState
    ) -> Alternative:
        grammar = state.task.grammar
        return Alternative(
            " ".join(word.text for word in hypothesis.words),
            hypothesis.score - likeliest,
            tuple(self._word(word, state) for word in hypothesis.words),
            grammar.match(hypothesis.labels) if grammar else None,
        )

    def _word(self, word: DecodedWord, state: SegmentState) -> Word:
        end = min(self._time(state, word.end), round(self.end, 3))
        start = min(self._time(state, word.start), round(end - self.endpointer.frame, 3))
        return Word(word.text, start, end, word.confidence)

    def _time(self, state: SegmentState, frame: int) -> float:
        return round(self.origin + (state.begin + frame) * self.endpointer.frame, 3)
