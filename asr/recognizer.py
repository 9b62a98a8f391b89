"""Recognizer: a loaded model, its search, and what else may be listened for."""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.acoustic import AcousticModel
from asr.audio import read
from asr.bundle import Bundle
from asr.endpoint import EndpointRules
from asr.errors import ModelError, UsageError
from asr.memory import release
from asr.results import Event, Final, Segment
from asr.stream import Stream
from asr.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from asr.decoding.grammar import Grammar
    from asr.decoding.hypothesis import Search
    from asr.decoding.language import LanguageModel
    from asr.decoding.lexicon import Pronunciation
    from asr.decoding.phrases import Phrase
    from asr.decoding.search import SearchOptions

    Said = Mapping[str, tuple[Pronunciation, ...]]


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
    release()  # what importing took, so that loading adds less to it
    acoustic = AcousticModel(bundle, device=device, precision=precision)
    release()
    options = _search_options(bundle)
    search = _search(bundle, graph, options, progress)
    if language_model is True:
        name = None if graph is None or isinstance(graph, Path) else bundle.settings.language_model
        decider = bundle.file(name) if name else None
    else:
        decider = Path(language_model) if language_model else None
    recognizer = Recognizer(bundle, acoustic, search, options, _language_model(decider))
    if decider:
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
            from asr.decoding.rescoring import RescoredSearch

            search = RescoredSearch(
                search,
                self.language_model,
                self.bundle.settings.language_scale,
                settling=nbest == 1,
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
