"""Phrases: words that are likelier in one stream, names that no dictionary has among them.

A language model's graph is not copied for that. Its file is mapped anew so that what is written
there is the stream's own, and behind its states come those of a tree of phones, one for all
phrases. The tree is begun at the root, from where any word can be, and each phrase leads back to
where the graph is after the last of its words. So the search knows nothing of phrases.

The graph of a grammar says all that may be said; there a phrase makes its own words cheaper.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from asr.decoding.columns import STEP, to_steps
from asr.decoding.hypothesis import BLANK, TOKEN_BITS
from asr.decoding.lexicon import IDS, PHONES, WORD, Lexicon
from asr.decoding.packed import pack
from asr.decoding.passing import TOKEN
from asr.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from asr.decoding.graph import Graph
    from asr.decoding.lexicon import Pronunciation
    from asr.decoding.vocabulary import Vocabulary

    Ways = tuple[Pronunciation, ...]
    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

NO_LEXICON = Lexicon({})

BOOST = 4.0
"""What phrases get if nothing else is said; docs/phrases.md says what that did."""

MOST_BOOST = 50.0
MOST_PHRASES = 10_000
MOST_WORDS = 20
"""Of one phrase."""
MOST_SOUNDS = 60
"""Letters or phones of one word."""
MOST_WAYS = 10

UNKNOWN = "<unk>"
"""The phrase that stands for any word that the graph does not know, and its text in results."""

SHORTEST = 5
"""An unknown word has at least so many phones."""

UNKNOWN_COST = 3.0
"""What an unknown word costs beside its phones, each of which costs what it does after the one
before in the words of the graph."""

_PART = re.compile(r"/(?P<phones>[^/]*)/|(?P<word>[^\s/]+)|\s+")
_LINE = re.compile(r"(?P<text>.*?)(?:(?:^|\s):\s*(?P<boost>\S+))?")


@dataclass(frozen=True)
class Phrase:
    """One or more words that are likelier than the graph says.

    Without a boost a phrase costs what its words cost where nothing is known of what came before,
    but at most what one of the graph's words does if all are as likely: log V nats. It costs the
    boost less.

    Attributes:
        text: the words. Behind a word there may be how it is said, `siobhan /SH AH V AO N/`, also
            several times. `<unk>` is any word that is unknown.
        boost: in nats, 0 or more.
    """

    text: str
    boost: float = BOOST

    def __post_init__(self) -> None:
        if not 0 <= self.boost <= MOST_BOOST:
            raise self.error(f"expected a boost of 0 to {MOST_BOOST:g} nats, got {self.boost}")

    def words(self) -> list[tuple[str, Ways]]:
        """Each word, with its pronunciations if the text has some.

        Raises:
            GraphError: there is something else in the text, or nothing, or too much.
        """
        words: list[tuple[str, Ways]] = []
        place = 0
        while part := _PART.match(self.text, place):
            place = part.end()
            if part["word"]:
                words.append((self._word(part["word"].lower()), ()))
            elif part["phones"] is None:
                continue
            elif not words:
                raise self.error(f"/{part['phones']}/ has to follow the word that is said so")
            else:
                word, ways = words.pop()
                words.append((word, (*ways, self._way(part["phones"]))))
                if len(ways) == MOST_WAYS:
                    raise self.error(f"{word!r} is said in more than {MOST_WAYS} ways")
            if len(words) > MOST_WORDS:
                raise self.error(f"a phrase has at most {MOST_WORDS} words")
        if place < len(self.text):
            raise self.error("a pronunciation does not end: write it as /S OW/")
        if not words:
            raise self.error("it has no words")
        return words

    def said(self, lexicon: Mapping[str, Ways]) -> Phrase:
        """The same phrase, said as a lexicon has it where its text does not say how."""
        if self.text.strip() == UNKNOWN:
            return self
        parts = []
        for word, ways in self.words():
            parts += [word, *(f"/{' '.join(way)}/" for way in ways or lexicon.get(word, ()))]
        return replace(self, text=" ".join(parts))

    def error(self, message: str) -> GraphError:
        """An error that names the phrase."""
        text = self.text if len(self.text) <= 60 else self.text[:60] + "..."
        return GraphError(f"phrase {text!r}: {message}")

    def _word(self, word: str) -> str:
        if not WORD.fullmatch(word):
            raise self.error(
                f"cannot pronounce {word[:60]!r}: words have letters a to z and apostrophes; spell "
                "numbers and signs out, and write a hyphen as a space"
            )
        if len(word) > MOST_SOUNDS:
            raise self.error(f"a word has at most {MOST_SOUNDS} letters")
        return word

    def _way(self, text: str) -> Pronunciation:
        way = tuple(text.split())
        if not way or not set(PHONES).issuperset(way):
            raise self.error(
                f"expected phones out of {PHONES[0]} ... {PHONES[-1]} between slashes, got "
                f"{text[:60]!r}"
            )
        if len(way) > MOST_SOUNDS:
            raise self.error(f"a word has at most {MOST_SOUNDS} phones")
        return way


def read_phrases(path: Path) -> list[Phrase]:
    """Reads a file with a phrase a line.

    A boost of its own stands behind a colon: `turn left :6`. Empty lines and lines that begin with
    # count for nothing.

    Raises:
        GraphError: the file cannot be read, or a line is wrong, which is named.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise GraphError(f"cannot read the phrases {path}: {error}") from error
    phrases = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if line and not line.startswith("#"):
            try:
                phrases.append(_parsed(line))
            except GraphError as error:
                raise GraphError(f"{path}, line {number}: {error}") from None
    return phrases


def _parsed(line: str) -> Phrase:
    found = _LINE.fullmatch(line)
    assert found, "the pattern takes any line"
    phrase = Phrase(found["text"])
    try:
        boost = BOOST if found["boost"] is None else float(found["boost"])
    except ValueError:
        raise phrase.error(f"expected a number behind the colon, got {found['boost']!r}") from None
    phrase = Phrase(phrase.text, boost)
    if phrase.text != UNKNOWN:
        phrase.words()
    return phrase


def with_phrases(
    graph: Graph, phrases: Iterable[Phrase], lexicon: Mapping[str, Ways] = NO_LEXICON
) -> Graph:
    """Makes a graph in which phrases are likelier; the other stays as it is.

    Args:
        graph: that of a language model, or of a grammar.
        phrases: of several with the same words the last counts.
        lexicon: how words are said, before what the graph knows. For a word that neither has, the
            CMU dictionary and espeak-ng are asked.

    Raises:
        GraphError: a phrase is wrong, cannot be pronounced, cannot occur in the grammar, or there
            are too many.
    """
    phrases = list(islice(phrases, MOST_PHRASES + 1))
    if len(phrases) > MOST_PHRASES:
        raise GraphError(f"at most {MOST_PHRASES} phrases can be given, there are more")
    if not phrases:
        return graph
    if graph.root is None:
        return _cheaper(graph, phrases)
    if graph.keys(np.array([1]))[0] & TOKEN == BLANK:
        raise GraphError("the graph has phrases already: give all of them at once")
    filler = [phrase for phrase in phrases if phrase.text.strip() == UNKNOWN]
    spelled = {phrase: phrase.words() for phrase in phrases if phrase not in filler}
    entries, vocabulary = _entries(graph, spelled, lexicon)
    begun = _begun(graph.mapped(), [entry for entry in entries.values() if entry.known])
    tree = _Tree(len(graph.arcs))
    for phrase, words in spelled.items():
        path = [entries[word] for word in words]
        own = sum(begun[entry.known].cost if entry.known else math.inf for entry in path)
        cost = min(own, math.log(len(graph.vocabulary))) - phrase.boost
        last = path[-1].known
        tree.add(path, cost, begun[last].state if last else graph.root)
    for phrase in filler[-1:]:
        vocabulary = vocabulary.extended([(UNKNOWN, ((),))])
        followers = graph.vocabulary.followers
        tree.add_filler(len(vocabulary), UNKNOWN_COST - phrase.boost, followers, graph.root)
    return tree.joined(graph, vocabulary)


def _cheaper(graph: Graph, phrases: Sequence[Phrase]) -> Graph:
    """A grammar's graph in which each word of a phrase has its part of the boost."""
    words = {word for phrase in phrases for word, _ in phrase.words()}
    labels = graph.vocabulary.labels(words)
    given = graph.words(np.arange(len(graph.arcs)))
    boosts = np.zeros(int(given.max()) + 1, np.float32)
    for phrase in phrases:
        spoken = phrase.words()
        for word, ways in spoken:
            if ways:
                raise phrase.error("the grammar's lexicon says how words are said, not a phrase")
            if word not in labels:
                raise phrase.error(f"it cannot occur, for the grammar has no word {word!r}")
            part = phrase.boost / len(spoken)
            boosts[labels[word]] = max(boosts[labels[word]], part)
    arcs = graph.arcs[:].copy()
    arcs["cost"] -= to_steps(boosts)[given]
    return replace(graph, arcs=arcs)


class _Entry(NamedTuple):
    """A word of a phrase.

    Attributes:
        label: that its arcs get.
        ways: its pronunciations, as token ids.
        known: the label of the same word in the graph; 0 if it has none.
    """

    label: int
    ways: Sequence[Sequence[int]]
    known: int


Spelled = tuple[str, "Ways"]


def _entries(
    graph: Graph, spelled: Mapping[Phrase, Sequence[Spelled]], lexicon: Mapping[str, Ways]
) -> tuple[dict[Spelled, _Entry], Vocabulary]:
    """Finds how the words of phrases are said; and gives a vocabulary with those that are new."""
    words = {word for line in spelled.values() for word in line}
    known = graph.vocabulary.labels({word for word, _ in words})
    said = {(word, ways): ways or lexicon.get(word, ()) for word, ways in words}
    missing = {word for (word, _), ways in said.items() if not ways and word not in known}
    pronounced = _pronounced(missing, spelled)
    entries: dict[Spelled, _Entry] = {}
    new: list[Spelled] = []
    for (word, given), ways in said.items():
        label = known.get(word, 0)
        if not ways and label:
            entries[word, given] = _Entry(label, graph.vocabulary[label][1], label)
        else:
            new.append((word, ways or pronounced[word]))
            ids = [[IDS[phone] for phone in way] for way in new[-1][1]]
            entries[word, given] = _Entry(len(graph.vocabulary) + len(new), ids, label)
    return entries, graph.vocabulary.extended(new)


def _pronounced(
    missing: Collection[str], spelled: Mapping[Phrase, Sequence[Spelled]]
) -> Mapping[str, Ways]:
    if not missing:
        return NO_LEXICON
    where = {word: phrase for phrase, line in spelled.items() for word, _ in line}
    first = min(missing)
    try:
        found = Lexicon.pronounce(missing)
    except GraphError as error:
        raise where[first].error(f"cannot pronounce {first!r}: {error}") from error
    for word in missing:
        if not all(found[word]):
            raise where[word].error(f"cannot pronounce {word!r}: write how it is said, as /S OW/")
    return found


class _Begun(NamedTuple):
    """Where a graph is after a word from its root on, and what the word costs."""

    cost: float
    state: int


def _begun(graph: Graph, entries: Sequence[_Entry]) -> dict[int, _Begun]:
    """Walks from the root of a graph through words, all in step, each as it is said first."""
    labels = np.array([entry.known for entry in entries], np.int64)
    ways = [graph.vocabulary[entry.known][1][0] for entry in entries]
    phones = np.zeros((len(ways), max(map(len, ways), default=0) + 2), np.uint8)
    for row, way in zip(phones, ways, strict=True):
        row[: len(way)] = way
    begun: dict[int, _Begun] = {}
    item, state = np.arange(len(ways)), np.full(len(ways), graph.root, np.int64)
    cost, given = np.zeros(len(ways)), np.zeros(len(ways), bool)
    for place in range(phones.shape[1]):
        wanted = phones[item, place]
        for at in np.flatnonzero(given & (wanted == 0)):
            label, found = int(labels[item[at]]), _Begun(float(cost[at]), int(state[at]))
            begun[label] = min(found, begun.get(label, found))
        owner, arc = graph.arcs_of(state)
        keys, word, silent = graph.keys(arc), graph.words(arc), wanted[owner] == 0
        gives = word == labels[item[owner]]
        fits = np.where(given[owner], (word == 0) & ~silent, gives | (word == 0) & ~silent)
        kept = np.flatnonzero(fits & (keys & TOKEN == wanted[owner]))
        owner, arc, state = owner[kept], arc[kept], keys[kept] >> TOKEN_BITS
        item, cost = item[owner], cost[owner] + graph.costs(arc)
        given = given[owner] | gives[kept]
    return begun


class _Tree:
    """Arcs of phones that phrases share as long as they begin alike.

    A node is worth what all phrases behind it are together, -log of the sum of exp(-cost), but not
    less than nothing; an arc costs what its end is worth more than its source. So the search knows
    of a phrase's cost early, as it does in graphs that were determinised.
    """

    def __init__(self, first: int) -> None:
        """Numbers the nodes from `first` on, so that none is a state of the graph before."""
        self.first = first
        self.mass = [0.0]
        self.nodes: dict[tuple[int, int], int] = {}
        self.arcs: list[tuple[int, int, int, int, float]] = []

    def add(self, path: Sequence[_Entry], cost: float, end: int) -> None:
        """Adds a phrase that leads to a state of the graph."""
        node, passed = 0, {0}
        for label, ways, _ in path[:-1]:
            known = (node, -label) in self.nodes
            after = self._node(node, -label)
            for way in ways:
                here = self._spelled(node, way[:-1], passed)
                if not known:
                    self.arcs.append((here, way[-1], label, self.first + after, math.nan))
            node = after
            passed.add(node)
        for way in path[-1].ways:
            here = self._spelled(node, way[:-1], passed)
            self.arcs.append((here, way[-1], path[-1].label, end, cost))
        for node in passed:
            self.mass[node] += math.exp(-cost)

    def add_filler(self, label: int, cost: float, followers: Ints, end: int) -> None:
        """Adds a way through any phones, at least SHORTEST of them, that leads to a state.

        Args:
            label: that of the word.
            cost: of beginning it.
            followers: how often each token follows each other, [V, V]; 0 is before and behind.
            end: the state.
        """
        costs = -np.log((followers + 0.5) / (followers + 0.5).sum(axis=1, keepdims=True))
        begin, *nodes = (
            self._node(0, -label - place) for place in range(1 + SHORTEST * len(PHONES))
        )
        phones = range(1, 1 + len(PHONES))
        spoken = [nodes[first : first + len(phones)] for first in range(0, len(nodes), len(phones))]
        self.mass[0] += math.exp(-cost)
        self.arcs.append((0, 0, 0, self.first + begin, cost))
        for phone, node in zip(phones, spoken[0], strict=True):
            self.arcs.append((begin, phone, label, self.first + node, costs[0, phone]))
        for here, after in zip(spoken, [*spoken[1:], spoken[-1]], strict=True):
            for last, node in zip(phones, here, strict=True):
                for phone, to in zip(phones, after, strict=True):
                    self.arcs.append((node, phone, 0, self.first + to, costs[last, phone]))
        for last, node in zip(phones, spoken[-1], strict=True):
            self.arcs.append((node, 0, 0, end, costs[last, 0]))
        for node in (begin, *nodes):
            self.mass[node] = 1.0  # so that it is worth nothing and its arcs cost what they say

    def _spelled(self, node: int, phones: Sequence[int], passed: set[int]) -> int:
        """Goes on from a node by phones, and notes what is passed."""
        for phone in phones:
            known = (node, phone) in self.nodes
            after = self._node(node, phone)
            if not known:
                self.arcs.append((node, phone, 0, self.first + after, math.nan))
            node = after
            passed.add(node)
        return node

    def _node(self, source: int, label: int) -> int:
        """The node behind another one, by a phone or, below 0, by a word."""
        node = self.nodes.setdefault((source, label), len(self.mass))
        if node == len(self.mass):
            self.mass.append(0.0)
        return node

    def joined(self, graph: Graph, vocabulary: Vocabulary) -> Graph:
        """A graph with the tree behind its states, and an arc from its root to it."""
        source, phone, word, end, cost = map(np.array, zip(*self.arcs, strict=True))
        value = np.round(np.maximum(0.0, -np.log(self.mass)) / STEP) * STEP
        inner, outer = np.isnan(cost), end < self.first
        cost[inner] = value[end[inner] - self.first]
        order = np.lexsort((phone, source))
        begin = len(graph.arcs) - 1 + np.searchsorted(source[order], np.arange(len(self.mass)))
        end[~outer] = begin[end[~outer] - self.first]
        columns = source, phone, word, cost - value[source], end
        arcs = pack(*(column[order] for column in columns))
        entry, _ = pack(np.zeros(2, int), BLANK, 0, value[0], begin[0])  # one that is not the last
        return graph.extended(vocabulary, entry, arcs, word[order].astype(np.uint32))
