"""Stream: one speaker's audio through resampling, model, search and endpoints."""

from __future__ import annotations

import io
import json
import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.audio import sanitise
from asr.endpoint import Endpointer, EndpointRules, Quiet
from asr.errors import AsrError, GraphError, ModelError, UsageError
from asr.resampler import Resampler
from asr.results import Event, Partial
from asr.segmenter import Segmenter, SegmentState
from asr.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from asr.acoustic import State
    from asr.decoding.grammar import Grammar
    from asr.decoding.phrases import Phrase
    from asr.recognizer import Recognizer

BLOCK = 25
"""Frames that go through the model at once when more is pushed; 1 s. More are no quicker, and leave
holes in the memory."""


class Stream:
    """One speaker's audio on its way to words.

    Push samples as they come and read the events that each push returns; `flush` when no more
    come. The finals do not depend on how the audio was cut.
    """

    def __init__(self, recognizer: Recognizer, rules: EndpointRules, task: Task) -> None:
        self._recognizer, self._task = recognizer, task
        self._bundle = recognizer.bundle
        self._endpointer = Endpointer(rules, self._bundle.frame_seconds)
        self._resampler: Resampler | None = None
        self._begin(0)

    def _begin(self, samples: int) -> None:
        """Stand before the first frame, after so many samples of the stream."""
        self._samples, self._origin = samples, samples
        self._pending = np.zeros(0, np.float32)
        self._lead_in = self._bundle.settings.delay
        self._acoustic: State | None = None
        self._segment: SegmentState | None = None
        self._end = math.inf

    @property
    def time(self) -> float:
        """Seconds of audio that were pushed."""
        return self._samples / self._bundle.settings.sample_rate

    def use(self, *, grammar: Grammar | None = None, phrases: Sequence[Phrase] = ()) -> None:
        """Listen for something else from now on.

        A segment in which something was said already goes on as it was begun. What is changed is
        all of it: without a grammar it is the model's own graph that counts again.

        Args:
            grammar: see `Recognizer.stream`.
            phrases: see `Recognizer.stream`.

        Raises:
            GraphError: when a phrase is wrong.
        """
        if grammar is self._task.grammar and tuple(phrases) == self._task.phrases:
            return
        self._task = self._recognizer.task(grammar, phrases, self._task.nbest)
        segment = self._segment
        if segment is not None and not segment.quiet.spoke:
            segment = replace(segment, task=self._task, after=None)
            if segment.search is not None:
                segment = self._segmenter.resumed(segment.search.log_probs, segment)
            self._segment = segment

    def push(self, samples: ArrayLike, rate: int) -> list[Event]:
        """Go on by some audio.

        Args:
            samples: [n] or [n, channels], any n; floats in [-1, 1] or integers of full scale.
            rate: samples per second; it may change from push to push.

        Returns:
            what was recognised, in the order of time; of partials only the newest.

        Raises:
            AudioError: when the samples are no audio, or the rate is no rate.
        """
        audio = sanitise(samples)
        rest: list[NDArray[np.float32]] = []
        if self._resampler is None or self._resampler.rate_in != rate:
            if self._resampler is not None:
                rest = [self._resampler.flush()]
            self._resampler = Resampler(rate, self._bundle.settings.sample_rate)
        audio = self._resampler.step(audio)
        if rest:
            audio = np.concatenate([*rest, audio])
        self._samples += len(audio)
        return self._hear(audio)

    def flush(self) -> list[Event]:
        """Decode every sample that was pushed, and end the segment.

        What is pushed afterwards begins anew, as a speaker after a pause; time goes on.
        """
        rest = self._resampler.flush() if self._resampler else np.zeros(0, np.float32)
        self._resampler = None
        self._samples += len(rest)
        behind = self._bundle.settings.delay + self._bundle.settings.tail
        self._end = self.time
        silence = -(len(self._pending) + len(rest)) % self._bundle.settings.frame
        silence += behind * self._bundle.settings.frame
        events = self._hear(np.concatenate([rest, np.zeros(silence, np.float32)]))
        events += self._segmenter.flush(self._segment)
        self._begin(self._samples)
        return _without_partials(events)

    @property
    def _segmenter(self) -> Segmenter:
        origin = self._origin / self._bundle.settings.sample_rate
        return Segmenter(self._task, self._endpointer, origin, self._end)

    def _hear(self, audio: NDArray[np.float32]) -> list[Event]:
        """Send audio at the model's rate through all stages."""
        if len(self._pending):
            audio = np.concatenate([self._pending, audio])
        frame = self._bundle.settings.frame
        whole = len(audio) // frame * frame
        self._pending = audio[whole:].copy()  # a view would keep all of it
        events: list[Event] = []
        for begin in range(0, whole, BLOCK * frame):
            block = audio[None, begin : min(whole, begin + BLOCK * frame)]
            log_probs, self._acoustic = self._recognizer.acoustic.step(block, self._acoustic)
            lead_in = min(self._lead_in, log_probs.shape[1])
            self._lead_in -= lead_in
            more, self._segment = self._segmenter.step(log_probs[0, lead_in:], self._segment)
            events = [*_without_partials(events), *more]
        return events

    def snapshot(self) -> bytes:
        """All that the stream knows, for `Recognizer.restore`; it is not changed by this.

        The search is not saved but what it has read: at most the longest segment. Of a grammar
        there is only what tells it from others.
        """
        segment = self._segment or SegmentState(self._task)
        facts = {
            "model": self._bundle.identity,
            "graph": self._recognizer.graph_identity,
            "rules": asdict(self._endpointer.rules),
            "task": _task_facts(self._task),
            "samples": self._samples,
            "origin": self._origin,
            "lead_in": self._lead_in,
            "resampler": self._resampler and [self._resampler.rate_in, *self._resampler.position],
            "segment_task": _task_facts(segment.task),
            "begin": segment.begin,
            "after": segment.after,
            "quiet": asdict(segment.quiet),
            "shown": segment.shown and asdict(segment.shown),
        }
        arrays: dict[str, NDArray[Any]] = {
            "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8),
            "pending": self._pending,
        }
        if self._resampler is not None:
            arrays["recent"] = self._resampler.recent
        if self._acoustic is not None:
            state = self._recognizer.acoustic.state_to_bytes(self._acoustic)
            arrays["acoustic"] = np.frombuffer(state, np.uint8)
        if segment.search is not None:
            arrays["log_probs"] = segment.search.log_probs
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **arrays)
        return file.getvalue()

    @classmethod
    def from_snapshot(
        cls, recognizer: Recognizer, snapshot: bytes, grammars: Iterable[Grammar]
    ) -> Stream:
        """See `Recognizer.restore`."""
        bundle = recognizer.bundle
        try:
            arrays = dict(np.load(io.BytesIO(snapshot), allow_pickle=False))
            facts = json.loads(arrays["facts"].tobytes())
            if facts["model"] != bundle.identity:
                raise ModelError(
                    f"the snapshot is of model {facts['model']}, this is {bundle.identity}"
                )
            if facts["graph"] != recognizer.graph_identity:
                raise GraphError(
                    "the snapshot is of a stream with another search graph, or of another version: "
                    "go on with the graph that was begun with"
                )
            _check_snapshot(facts, arrays)
            known = {grammar.digest: grammar for grammar in grammars}
            task = _task(recognizer, facts["task"], known)
            stream = cls(recognizer, EndpointRules(**facts["rules"]), task)
            stream._samples, stream._origin = facts["samples"], facts["origin"]
            stream._lead_in, stream._pending = facts["lead_in"], arrays["pending"]
            if facts["resampler"]:
                rate, *position = facts["resampler"]
                stream._resampler = Resampler.resume(
                    rate, bundle.settings.sample_rate, arrays["recent"], *position
                )
            if "acoustic" in arrays:
                stream._acoustic = recognizer.acoustic.state_from_bytes(
                    arrays["acoustic"].tobytes()
                )
            shown = None if facts["shown"] is None else Partial(**facts["shown"])
            if facts["segment_task"] != facts["task"]:
                task = _task(recognizer, facts["segment_task"], known)
            quiet = Quiet(**facts["quiet"])
            begun = SegmentState(task, facts["begin"], facts["after"], quiet, shown=shown)
            heard = arrays.get("log_probs", np.zeros((0, 0), np.float32))
            stream._segment = stream._segmenter.resumed(heard, begun)
        except AsrError:
            raise
        except Exception as error:  # damaged archives raise nearly anything
            raise ModelError(f"the snapshot is damaged: {' '.join(str(error).split())}") from error
        return stream


def _check_snapshot(facts: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Raises ValueError for what would be found wrong only when the stream goes on."""
    counts = {name: facts[name] for name in ("samples", "origin", "lead_in", "begin")}
    counts |= {name: facts["quiet"][name] for name in ("frames", "silent")}
    for name, count in counts.items():
        if type(count) is not int or not 0 <= count < 1 << 53:
            raise ValueError(f"{name} cannot be {count!r}")
    if type(facts["after"]) not in (int, type(None)):
        raise ValueError(f"no state of a graph is {facts['after']!r}")
    pending = arrays["pending"]
    if pending.ndim != 1 or pending.dtype != np.float32:
        raise ValueError(f"samples cannot be {pending.dtype} {list(pending.shape)}")


def _task_facts(task: Task) -> dict[str, Any]:
    return {
        "grammar": task.grammar and [task.grammar.name, task.grammar.digest],
        "phrases": [[phrase.text, phrase.boost] for phrase in task.phrases],
        "nbest": task.nbest,
    }


def _task(recognizer: Recognizer, facts: dict[str, Any], known: dict[str, Grammar]) -> Task:
    from asr.decoding.phrases import Phrase

    grammar = None
    if facts["grammar"]:
        name, digest = facts["grammar"]
        grammar = known.get(digest)
        if grammar is None:
            raise UsageError(
                f"the snapshot is of a stream with a grammar {name!r} that is not among the "
                f"{len(known)} given, or it is another version of it: give `restore` the same"
            )
    phrases = [Phrase(*phrase) for phrase in facts["phrases"]]
    return recognizer.task(grammar, phrases, facts["nbest"])


def _without_partials(events: list[Event]) -> list[Event]:
    return [event for event in events if not isinstance(event, Partial)]
