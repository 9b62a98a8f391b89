"""Grammars: what may be said, as a graph to search in, and what it means.

The graph is one of phones, without the CTC topology, and nearly without epsilons: the words that
may follow one another are a tree that shares the beginnings of their pronunciations.
"""

from __future__ import annotations

import hashlib
import math
import re
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from asr.decoding import jsgf
from asr.decoding.automaton import MOST_ARCS, automaton
from asr.decoding.fst import ARC, Fst, connected
from asr.decoding.graph import Graph
from asr.decoding.lexicon import IDS, TOKENS, WORD, Lexicon
from asr.decoding.phone_graph import PhoneGraph
from asr.decoding.rules import Alternatives, Rule, RuleGrammar, Sequence, Source, Tag, Word
from asr.decoding.vocabulary import Vocabulary
from asr.errors import GraphError
from asr.results import Match

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from asr.decoding.automaton import Automaton
    from asr.decoding.lexicon import Pronunciation

    Said = Mapping[str, tuple[Pronunciation, ...]]
    Labels = tuple[int, ...]

NO_LEXICON = Lexicon({})

_SLOT = re.compile(r'([A-Za-z_][\w.-]*)\s*=\s*("?)(.*)\2', re.DOTALL)
_INTENT = "intent"


@dataclass(frozen=True)
class Grammar:
    """A compiled grammar.

    Attributes:
        name: what it calls itself.
        graph: from phones to labels: 1 to V are the words of its vocabulary, V + k is tag k of
            `tags`, from 1 on. Every path from the start to a final state is an utterance.
        tags: those that labels stand for; a name stands for an utterance of that public rule, and
            is there only if there are several.
        rules: names of the public rules.
    """

    name: str
    graph: PhoneGraph = field(repr=False)
    tags: tuple[Tag | str, ...] = field(repr=False)
    rules: tuple[str, ...]

    @cached_property
    def searched(self) -> Graph:
        """The graph as the search walks through it."""
        return Graph.of(self.graph)

    @cached_property
    def digest(self) -> str:
        """What grammars that mean the same have in common, and no others."""
        fst = self.graph.fst
        parts = (self.graph.vocabulary.text[:], fst.states, fst.arcs)
        meaning = repr((fst.start, self.tags, self.rules)).encode()
        return hashlib.sha256(b"".join([*(part.tobytes() for part in parts), meaning])).hexdigest()

    @classmethod
    def load(cls, path: Path, lexicon: Said = NO_LEXICON) -> Grammar:
        """Reads a JSGF file and compiles it, as `compile` does."""
        return cls.compile(jsgf.read(path), lexicon)

    @classmethod
    def phrases(
        cls, phrases: Iterable[str], lexicon: Said = NO_LEXICON, name: str = "phrases"
    ) -> Grammar:
        """Compiles a list, of words or of phrases, any of which may be said.

        Args:
            phrases: one or more words each; repeated ones count once.
            lexicon: how words are said.
            name: that of the grammar and its rule. Errors give the phrase's number as the line.

        Raises:
            GraphError: see `compile`; also if a phrase has no words.
        """
        lines = [" ".join(phrase.lower().split()) for phrase in islice(phrases, MOST_ARCS + 1)]
        source = Source(name, "\n".join(lines))
        if len(lines) > MOST_ARCS:
            raise source.error(0, f"a list has at most {MOST_ARCS} phrases, this one has more")
        items: dict[str, Sequence] = {}
        offset = 0
        for line in lines:
            if not line:
                raise source.error(offset, "a phrase has no words")
            if line not in items:
                found = re.finditer(r"\S+", line)
                items[line] = Sequence(tuple(Word(w[0], offset + w.start()) for w in found))
            offset += len(line) + 1
        choice = Alternatives(tuple(items.values()), (1.0,) * len(items))
        rule = Rule(name, choice, public=True, depth=0, references=())
        return cls.compile(RuleGrammar(source, name, {name: rule}), lexicon)

    @classmethod
    def compile(cls, grammar: RuleGrammar, lexicon: Said = NO_LEXICON) -> Grammar:
        """Makes a graph of rules.

        Args:
            grammar: the rules.
            lexicon: how words are said; those that it lacks are said as the CMU dictionary has
                them, or as espeak-ng would.

        Raises:
            GraphError: a word cannot be pronounced (with file, line and column), nothing can be
                said, or the grammar is beyond the bounds of `asr.decoding.automaton`.
        """
        words = automaton(grammar)
        said = _pronounced(words, grammar.source, lexicon)
        graph = PhoneGraph(Vocabulary.of(said), _phone_fst(words, said))
        return cls(grammar.name, graph, tuple(words.tags), grammar.public)

    def match(self, labels: Iterable[int]) -> Match:
        """Reads the output labels of a path, zeros left out or not."""
        vocabulary, words, marks, texts = self.graph.vocabulary, [], [], []
        for label in labels:
            if 0 < label <= len(vocabulary):
                words.append(vocabulary[label][0])
            elif label:
                tag = self.tags[label - len(vocabulary) - 1]
                if isinstance(tag, Tag):
                    texts.append(tag.text)
                else:
                    marks.append(tag)
        rule = self.rules[0] if len(self.rules) == 1 else next(iter(marks), None)
        slots = {slot[1]: slot[3] for text in texts if (slot := _SLOT.fullmatch(text))}
        intent = slots.pop(_INTENT, rule)
        others = tuple(text for text in texts if not _SLOT.fullmatch(text))
        return Match(tuple(words), rule, intent, slots, others)


class Known(Mapping[str, tuple["Pronunciation", ...]]):
    """How the words of a graph's vocabulary are said."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    @cached_property
    def _labels(self) -> dict[str, int]:
        lines = self._vocabulary.lines
        return {line.partition(" ")[0]: label for label, line in enumerate(lines, 1)}

    def __getitem__(self, word: str) -> tuple[Pronunciation, ...]:
        _, ways = self._vocabulary[self._labels[word]]
        return tuple(tuple(TOKENS[phone] for phone in way) for way in ways)

    def __iter__(self) -> Iterator[str]:
        return iter(self._labels)

    def __len__(self) -> int:
        return len(self._labels)


def _pronounced(words: Automaton, source: Source, lexicon: Said) -> Lexicon:
    """Finds how the words of an automaton are said, in the order of their labels."""
    places = dict(zip(words.words, words.places, strict=True))
    missing = [word for word in words.words if word not in lexicon]
    for word in missing:
        if not WORD.fullmatch(word):
            raise source.error(
                places[word],
                f"cannot pronounce {word!r}: words have letters a to z and apostrophes; spell "
                "numbers and signs out, and write a hyphen as a space",
            )
    try:
        rest = Lexicon.pronounce(missing) if missing else NO_LEXICON
    except GraphError as error:
        first = missing[0]
        raise source.error(places[first], f"cannot pronounce {first!r}: {error}") from error
    said = {word: lexicon[word] if word in lexicon else rest[word] for word in words.words}
    for word, ways in said.items():
        if not all(ways):
            raise source.error(places[word], f"cannot pronounce {word!r}: no rule gives it a phone")
    return Lexicon(said)


def _phone_fst(words: Automaton, said: Lexicon) -> Fst:
    ways = [tuple(tuple(IDS[phone] for phone in way) for way in said[word]) for word in words.words]
    made = _PhoneArcs(len(words.arcs))
    for state, arcs in enumerate(words.arcs):
        paths = []
        for word, tags, cost, to in arcs:
            outputs = tuple(len(ways) + tag for tag in tags)
            if word:
                paths += [_Path(way, (word, *outputs), cost, to) for way in ways[word - 1]]
            else:
                made.chain(state, _Path((), outputs, cost, to))
        made.tree(state, paths)
    return made.fst(words.final)


class _Path(NamedTuple):
    """Phones that lead to a state, and the labels that they give."""

    phones: Labels
    outputs: Labels
    cost: float
    to: int

    @property
    def prefixes(self) -> list[Labels]:
        """Beginnings of the phones that leave one phone for each label, if there are enough."""
        return [self.phones[:n] for n in range(1, len(self.phones) - len(self.outputs) + 1)]


class _PhoneArcs:
    """Arcs of phones, as they are added state by state."""

    def __init__(self, states: int) -> None:
        self.states = states
        self.sources, self.phones, self.outputs, self.ends = (array("i") for _ in range(4))
        self.costs = array("f")

    def tree(self, state: int, paths: list[_Path]) -> None:
        """Adds paths from a state that share what they begin with.

        What leads to several words costs what the cheapest of them does; behind it each word has
        arcs of its own, with its labels as early as possible.
        """
        uses: Counter[Labels] = Counter()
        best: dict[Labels, float] = {}
        for path in paths:
            for prefix in path.prefixes:
                uses[prefix] += 1
                best[prefix] = min(path.cost, best.get(prefix, math.inf))
        best[()] = 0.0
        states: dict[Labels, int] = {(): state}
        for path in paths:
            shared: Labels = ()
            for prefix in path.prefixes:
                if uses[prefix] == 1:
                    break
                if prefix not in states:
                    states[prefix] = self.state()
                    cost = best[prefix] - best[shared]
                    self.arc(states[shared], prefix[-1], 0, cost, states[prefix])
                shared = prefix
            rest, cost = path.phones[len(shared) :], path.cost - best[shared]
            self.chain(states[shared], path._replace(phones=rest, cost=cost))

    def chain(self, state: int, path: _Path) -> None:
        """Adds a path from a state, with arcs of its own."""
        cost = path.cost
        length = max(len(path.phones), len(path.outputs), 1)
        pairs = zip_longest(path.phones, path.outputs, range(length))
        for phone, output, place in pairs:
            to = self.state() if place < length - 1 else path.to
            self.arc(state, phone or 0, output or 0, cost, to)
            state, cost = to, 0.0

    def state(self) -> int:
        self.states += 1
        return self.states - 1

    def arc(self, source: int, phone: int, output: int, cost: float, to: int) -> None:
        self.sources.append(source)
        self.phones.append(phone)
        self.outputs.append(output)
        self.costs.append(cost)
        self.ends.append(to)

    def fst(self, final: list[float]) -> Fst:
        """All that was added; only the first states, whose costs are given, are final."""
        arcs = np.zeros(len(self.sources), ARC)
        arcs["ilabel"], arcs["olabel"] = self.phones, self.outputs
        arcs["weight"], arcs["next"] = self.costs, self.ends
        costs = np.full(self.states, np.inf, np.float32)
        costs[: len(final)] = final
        return connected(Fst.of(0, costs, np.array(self.sources, np.int64), arcs))
