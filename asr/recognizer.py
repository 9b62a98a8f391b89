"""Recognizer and Stream: the one place where audio, model, search and endpoints meet."""

from __future__ import annotations

import io
import json
import math
from collections import ChainMap
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.acoustic import AcousticModel
from asr.audio import read, sanitise
from asr.bundle import Bundle
from asr.endpoint import Endpointer, EndpointRules, Quiet
from asr.errors import AsrError, GraphError, ModelError, UsageError
from asr.memory import release
from asr.resampler import Resampler
from asr.results import Event, Final, Partial, Segment
from asr.segmenter import Segmenter, SegmentState
from asr.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from asr.acoustic import State
    from asr.decoding.grammar import Grammar
    from asr.decoding.hypothesis import Search
    from asr.decoding.language import LanguageModel
    from asr.decoding.lexicon import Pronunciation
    from asr.decoding.phrases import Phrase
    from asr.decoding.search import SearchOptions

    Said = Mapping[str, tuple[Pronunciation, ...]]

BLOCK = 100
"""Frames that go through the model at once when more is pushed; 4 s."""


def load(
    path: str | Path,
    *,
    device: str = "cpu",
    precision: str | None = None,
    graph: str | Path | None = "dictation",
    language_model: str | Path | bool = True,
    progress: Callable[[float], None] = lambda _: None,
) -> Recognizer:
    """Load a model folder.

    Args:
        path: the folder, such as `models/en-small`.
        device: `cpu`, `cuda`, or `auto` for cuda where there is one.
        precision: `fp32` or `int8`; None for int8 on a CPU if the folder has it. The recogniser's
            `acoustic.precision` says which it is.
        graph: name of the search graph in the folder, or the file of another; None for the bare
            tokens of the model, or if there are grammars only.
        language_model: what decides between the hypotheses of the search: True for the folder's
            own language model, if it has one and the graph is its own; the file of another; False
            for none.
        progress: called with the share done, in [0, 1], while a graph is unpacked into the cache;
            that happens when it is used for the first time.

    Raises:
        ModelError: when the folder is missing, damaged, or lacks the graph.
        DeviceError: when the device is not there.
    """
    bundle = Bundle.open(path)
    try:
        EndpointRules(**bundle.settings.endpoint)
    except (TypeError, UsageError) as error:
        raise ModelError(f"{path} has wrong endpoint rules: {error}") from None
    acoustic = AcousticModel(bundle, device=device, precision=precision)
    options = _search_options(bundle)
    search = _search(bundle, graph, options, progress)
    if language_model is True:
        name = None if graph is None or isinstance(graph, Path) else bundle.settings.language_model
        decider = bundle.file(name) if name else None
    else:
        decider = Path(language_model) if language_model else None
    recognizer = Recognizer(bundle, acoustic, search, options, _language_model(decider))
    release()
    return recognizer


def _search(
    bundle: Bundle,
    graph: str | Path | None,
    options: SearchOptions,
    progress: Callable[[float], None],
) -> Search[Any]:
    if graph is None:
        from asr.decoding.greedy import GreedySearch

        return GreedySearch(bundle.tokens)
    from asr.decoding.graph import Graph
    from asr.decoding.search import GraphSearch

    file = graph if isinstance(graph, Path) else bundle.graph(graph)
    return GraphSearch(Graph.load(file, progress), options)


def _language_model(path: Path | None) -> LanguageModel | None:
    if path is None:
        return None
    from asr.decoding.language import LanguageModel

    return LanguageModel(path)


def is_language_model(path: Path) -> bool:
    """Whether a file of knowledge of the language, by its name, is no search graph."""
    return path.suffix == ".onnx"


def _search_options(bundle: Bundle) -> SearchOptions:
    from asr.decoding.search import SearchOptions

    try:
        return SearchOptions(**bundle.settings.search)
    except (TypeError, UsageError) as error:
        raise ModelError(f"{bundle.path} has wrong settings of the search: {error}") from None


@dataclass(frozen=True)
class Recognizer:
    """A loaded model; any number of streams share it.

    Attributes:
        bundle: the model folder.
        acoustic: audio to log-probabilities.
        search: log-probabilities to words, where nothing else is asked for.
        options: of searches in other graphs.
        language_model: what decides between the hypotheses of `search`, if not that alone.
    """

    bundle: Bundle
    acoustic: AcousticModel
    search: Search[Any]
    options: SearchOptions
    language_model: LanguageModel | None = None

    def stream(
        self,
        endpoint: EndpointRules | None = None,
        *,
        lm: str | Path | None = None,
        grammar: Grammar | None = None,
        phrases: Sequence[Phrase] = (),
        nbest: int = 1,
    ) -> Stream:
        """Begin a stream.

        Args:
            endpoint: when a segment ends; the model's own rules if None.
            lm: see `with_lm`, which reads the file once for many streams.
            grammar: what alone may be said; anything if None.
            phrases: what is likelier to be said than the model's graph, or the grammar, has it.
            nbest: how many hypotheses a segment carries as its alternatives, if more than one.

        Raises:
            GraphError: when a phrase is wrong, or `lm` is no graph.
            ModelError: when `lm` is no language model.
            UsageError: when the recogniser has no graph for phrases, alternatives or `lm`.
        """
        if lm is not None:
            return self.with_lm(lm).stream(endpoint, grammar=grammar, phrases=phrases, nbest=nbest)
        rules = endpoint or EndpointRules(**self.bundle.settings.endpoint)
        return Stream(self, rules, self.task(grammar, phrases, nbest))

    def with_lm(self, path: str | Path) -> Recognizer:
        """The same with other knowledge of the language; it restores the snapshots of its streams.

        Args:
            path: a search graph, as `asr graph` builds, which no language model decides in; or a
                language model in ONNX, as `asr lm export` writes, for this recogniser's graph.

        Raises:
            GraphError: when it is no graph.
            ModelError: when it is no language model.
            UsageError: when it is a language model and there is no graph.
        """
        path = Path(path)
        if not is_language_model(path):
            search = _search(self.bundle, path, self.options, lambda _: None)
            return replace(self, search=search, language_model=None)
        if self.graph_identity is None:
            raise UsageError("a language model decides in a graph: load the model with one")
        return replace(self, language_model=_language_model(path))

    def task(self, grammar: Grammar | None, phrases: Sequence[Phrase], nbest: int) -> Task:
        """What a stream listens for; see `stream`."""
        from asr.decoding.search import GraphSearch

        search: Search[Any] = self.search
        if grammar is not None:
            search = GraphSearch(grammar.searched, self.options.in_grammar)
        if phrases or nbest > 1:
            if not isinstance(search, GraphSearch):
                raise UsageError("phrases and alternatives need a graph: load the model with one")
            if phrases:
                from asr.decoding.phrases import with_phrases

                search = GraphSearch(with_phrases(search.graph, phrases), search.options)
        if self.language_model and grammar is None and isinstance(search, GraphSearch):
            from asr.decoding.rescoring import DEPTH, RescoredSearch

            search = RescoredSearch(
                search,
                self.language_model,
                self.bundle.settings.language_scale,
                settling=nbest == 1,
                depth=max(nbest, DEPTH),
            )
        return Task(search, grammar, tuple(phrases), nbest)

    @cached_property
    def graph_identity(self) -> str | None:
        """Tells the search graph from others; None if there is none."""
        from asr.decoding.search import GraphSearch

        return self.search.graph.identity if isinstance(self.search, GraphSearch) else None

    @cached_property
    def lexicon(self) -> Said:
        """How the words are said that the model's graph knows."""
        from asr.decoding.grammar import Known
        from asr.decoding.search import GraphSearch

        return Known(self.search.graph.vocabulary) if isinstance(self.search, GraphSearch) else {}

    def _said(self, lexicon: Said | None) -> Said:
        """A lexicon, and behind it the model's own."""
        own: Any = self.lexicon
        return ChainMap(dict(lexicon or {}), own)

    def grammar(self, path: str | Path, lexicon: Said | None = None) -> Grammar:
        """Compile a grammar in JSGF.

        Args:
            path: the grammar.
            lexicon: how words are said; others are as the model's graph has them, if it does.

        Raises:
            GraphError: when something is wrong with it, with line and column.
        """
        from asr.decoding.grammar import Grammar

        return Grammar.load(Path(path), self._said(lexicon))

    def word_list(self, phrases: Iterable[str], lexicon: Said | None = None) -> Grammar:
        """Compile a grammar of words or phrases any of which may be said.

        Args:
            phrases: they.
            lexicon: see `grammar`.

        Raises:
            GraphError: when one of them cannot be said.
        """
        from asr.decoding.grammar import Grammar

        return Grammar.phrases(phrases, self._said(lexicon))

    def transcribe(
        self,
        path: str | Path,
        *,
        grammar: Grammar | None = None,
        phrases: Sequence[Phrase] = (),
        nbest: int = 1,
    ) -> list[Segment]:
        """The segments of an audio file of any format, without those that a grammar rejects.

        Args:
            path: the file.
            grammar: see `stream`.
            phrases: see `stream`.
            nbest: see `stream`.

        Raises:
            AudioError: when it cannot be read.
        """
        events = self.events(path, grammar=grammar, phrases=phrases, nbest=nbest)
        return [event.segment for event in events if isinstance(event, Final)]

    def events(
        self,
        path: str | Path,
        *,
        grammar: Grammar | None = None,
        phrases: Sequence[Phrase] = (),
        nbest: int = 1,
    ) -> Iterator[Event]:
        """The events of an audio file, as they come; see `transcribe`."""
        stream = self.stream(grammar=grammar, phrases=phrases, nbest=nbest)
        for block in read(path, self.bundle.settings.sample_rate):
            yield from stream.push(block, self.bundle.settings.sample_rate)
        yield from stream.flush()

    def restore(self, snapshot: bytes, grammars: Iterable[Grammar] = ()) -> Stream:
        """Take up a stream that `Stream.snapshot` saved, in this or another process.

        Args:
            snapshot: the stream.
            grammars: among them those that it was using.

        Raises:
            ModelError: when the snapshot is damaged, or of another model.
            GraphError: when the recogniser has another graph than the stream had, or has
                unpacked it in another way, as another version of Rill may.
            UsageError: when a grammar is not there that it was using.
        """
        return Stream.from_snapshot(self, snapshot, grammars)


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
        audio = np.concatenate([*rest, self._resampler.step(audio)])
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
        events = self._hear(np.pad(rest, (0, silence + behind * self._bundle.settings.frame)))
        events += self._segmenter.flush(self._segment)
        self._begin(self._samples)
        return _without_partials(events)

    @property
    def _segmenter(self) -> Segmenter:
        origin = self._origin / self._bundle.settings.sample_rate
        return Segmenter(self._task, self._endpointer, origin, self._end)

    def _hear(self, audio: NDArray[np.float32]) -> list[Event]:
        """Send audio at the model's rate through all stages."""
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
