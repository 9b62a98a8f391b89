"""From rules to an automaton of words.

It is built as Thompson did ("Regular expression search algorithm", 1968), but from the end of a
rule to its beginning, so that rules which end alike share their states. Costs are those of a proper
distribution: alternatives are as likely as their weights say, what is optional is said or not, and
what may be repeated goes on or ends, with equal chances.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from asr.decoding.rules import (
    Alternatives,
    Reference,
    Repeat,
    RuleGrammar,
    Sequence,
    Tag,
    Tagged,
    Word,
)  # fmt: skip

if TYPE_CHECKING:
    from asr.decoding.rules import Expansion

    Labels = tuple[int, ...]
    Reached = dict[int, tuple[float, Labels]]

MOST_ARCS = 300_000
"""How many words and tags an automaton may have; each way to come to them counts anew."""

HUB = 32
"""How many words a state has at least that others pass on to; copies are made of smaller ones."""

MOST_LINKS = 128
"""A state passes on to this many hubs at most, as the search counts such arcs in a byte; of others
it gets copies."""

_EVEN = math.log(2)


class Arc(NamedTuple):
    """A transition; without a word (0) it is a link, which is passed on the way to another.

    Attributes:
        word: its label; labels count from 1.
        tags: what else it gives: tags, as their labels, which also count from 1.
        cost: in nats.
        to: the state that it leads to.
    """

    word: int
    tags: Labels
    cost: float
    to: int


@dataclass
class Automaton:
    """States are numbers; an utterance begins in 0, and none ends there.

    Attributes:
        arcs: those of each state.
        final: the cost of ending in each state, infinite where that cannot be.
        words: label of each word.
        places: where in the source each word stands first, in the order of labels.
        tags: label of each tag. A rule's name stands for an utterance of that rule.
    """

    arcs: list[list[Arc]] = field(default_factory=list)
    final: list[float] = field(default_factory=list)
    words: dict[str, int] = field(default_factory=dict)
    places: list[int] = field(default_factory=list)
    tags: dict[Tag | str, int] = field(default_factory=dict)

    def state(self, final: float = math.inf) -> int:
        """Adds a state."""
        self.arcs.append([])
        self.final.append(final)
        return len(self.arcs) - 1


def automaton(grammar: RuleGrammar) -> Automaton:
    """Makes the automaton of all that the public rules allow to be said, silence excepted.

    Raises:
        GraphError: that is nothing, or the automaton grows beyond `MOST_ARCS`.
    """
    made = _Linked(grammar).unlinked()
    _trim(made)
    if not made.arcs[0]:
        raise grammar.source.error(0, "the grammar allows nothing to be said")
    _merge_beginnings(made)
    return made


class _Linked:
    """An automaton whose states are joined by links; all that is said leads from 0 to 1."""

    def __init__(self, grammar: RuleGrammar) -> None:
        self.grammar = grammar
        self.size = 0
        self.made = Automaton()
        self.begins: dict[tuple[str, int, Labels], int] = {}
        start, end = self.made.state(), self.made.state(final=0.0)
        for name in grammar.public:
            mark = (self.tag(name),) if len(grammar.public) > 1 else ()
            cost = math.log(len(grammar.public))
            self.arc(start, Arc(0, mark, cost, self.begin(name, end, ())))

    def begin(self, name: str, to: int, tags: Labels) -> int:
        """The state from which a rule leads to the state `to`, giving `tags` in the end."""
        key = name, to, tags
        if key not in self.begins:
            self.begins[key] = state = self.made.state()
            self.add(self.grammar.rules[name].expansion, state, Arc(0, tags, 0.0, to))
        return self.begins[key]

    def add(self, node: Expansion, source: int, link: Arc) -> None:
        """Adds all ways to say something between a state and the end of `link`.

        Nothing is added that leads into `source` or out of the end. The link's cost is paid on
        the way, its tags are given in the end.
        """
        match node:
            case Word(text, offset):
                self.arc(source, link._replace(word=self.word(text, offset)))
            case Reference(name):
                state = self.begin(name, link.to, link.tags)
                self.arc(source, Arc(0, (), link.cost, state))
            case Sequence(items):
                self.sequence(items, source, link)
            case Alternatives(items, weights):
                total = sum(weights)
                for item, weight in zip(items, weights, strict=True):
                    if weight:
                        cost = link.cost + math.log(total) - math.log(weight)
                        self.add(item, source, link._replace(cost=cost))
            case Repeat(item, least):
                self.repeat(item, least, source, link)
            case Tagged(item, tags):
                labels = (*map(self.tag, tags), *link.tags)
                self.add(item, source, link._replace(tags=labels))

    def sequence(self, items: tuple[Expansion, ...], source: int, link: Arc) -> None:
        for item in items[:-1]:
            middle = self.made.state()
            self.add(item, source, Arc(0, (), link.cost, middle))
            source, link = middle, link._replace(cost=0.0)
        if items:
            self.add(items[-1], source, link)
        else:
            self.arc(source, link)

    def repeat(self, item: Expansion, least: int, source: int, link: Arc) -> None:
        before, after = self.made.state(), self.made.state()
        self.add(item, before, Arc(0, (), 0.0, after))
        self.arc(after, Arc(0, (), _EVEN, before))
        self.arc(after, link._replace(cost=_EVEN))
        if least == 0:
            link = link._replace(cost=link.cost + _EVEN)
            self.arc(source, link)
        self.arc(source, Arc(0, (), link.cost, before))

    def arc(self, source: int, arc: Arc) -> None:
        self.grow(1 + len(arc.tags))
        self.made.arcs[source].append(arc)

    def grow(self, by: int) -> None:
        self.size += by
        if self.size > MOST_ARCS:
            raise self.grammar.source.error(
                0,
                f"written out, the grammar has more than {MOST_ARCS} words and tags: shorten it",
            )

    def word(self, text: str, offset: int) -> int:
        if text not in self.made.words:
            self.made.words[text] = len(self.made.words) + 1
            self.made.places.append(offset)
        return self.made.words[text]

    def tag(self, tag: Tag | str) -> int:
        return self.made.tags.setdefault(tag, len(self.made.tags) + 1)

    def unlinked(self) -> Automaton:
        """The same with links only from states to hubs, and to the end if tags are left to give.

        A state gets copies of the arcs of those that it passes on to. A hub has many arcs and is
        passed on to by several states.
        """
        words = [[arc for arc in arcs if arc.word] for arcs in self.made.arcs]
        reach = self.reach(words)
        used = Counter(state for reached in reach.values() for state in reached)
        hubs = [state for state, uses in used.items() if uses > 1 and len(words[state]) > HUB]

        made = Automaton(words=self.made.words, places=self.made.places, tags=self.made.tags)
        number = {state: made.state() for state in reach}
        hub = {state: made.state() for state in hubs}
        end = made.state(final=0.0)
        self.size = 0
        for state in hubs:
            self.copy(words[state], made.arcs[hub[state]], number, (), 0.0)
        for state, reached in reach.items():
            arcs = made.arcs[number[state]]
            linked = set([to for to in reached if to in hub][:MOST_LINKS])
            for to, (cost, tags) in reached.items():
                if to in linked:
                    arcs.append(Arc(0, tags, cost, hub[to]))
                else:
                    self.copy(words[to], arcs, number, tags, cost)
                if to == 1 and state != 0:
                    if tags:
                        arcs.append(Arc(0, tags, cost, end))
                    else:
                        made.final[number[state]] = cost
        return made

    def copy(
        self, words: list[Arc], arcs: list[Arc], number: dict[int, int], tags: Labels,
        cost: float,
    ) -> None:  # fmt: skip
        self.grow(sum(1 + len(tags) + len(arc.tags) for arc in words))
        arcs.extend(
            Arc(arc.word, (*tags, *arc.tags), cost + arc.cost, number[arc.to]) for arc in words
        )

    def reach(self, words: list[list[Arc]]) -> dict[int, Reached]:
        """For each state that words lead to, and the start: the states that it passes on to."""
        reach: dict[int, Reached] = {}
        begun: set[int] = set()
        waiting = [0]
        for state in waiting:
            if state in reach:
                continue
            reach[state] = self.passed(state)
            self.grow(len(reach[state]) - 1)
            for to in reach[state].keys() - begun:
                begun.add(to)
                waiting.extend(arc.to for arc in words[to])
        return reach

    def passed(self, state: int) -> Reached:
        """States that links lead to, by the cheapest way: its cost and tags (Dijkstra)."""
        found: Reached = {}
        order = count()
        heap: list[tuple[float, int, Labels, int]] = [(0.0, next(order), (), state)]
        while heap:
            cost, _, tags, state = heapq.heappop(heap)
            if state not in found:
                found[state] = cost, tags
                for arc in self.made.arcs[state]:
                    if not arc.word:
                        self.grow(len(tags) + len(arc.tags))
                        item = (cost + arc.cost, next(order), (*tags, *arc.tags), arc.to)
                        heapq.heappush(heap, item)
        return found


def _trim(made: Automaton) -> None:
    """Takes out the arcs from which no way leads to the end of an utterance."""
    before = defaultdict(list)
    for state, arcs in enumerate(made.arcs):
        for arc in arcs:
            before[arc.to].append(state)
    waiting = [state for state, final in enumerate(made.final) if final < math.inf]
    useful = set(waiting)
    for state in waiting:
        new = [source for source in before[state] if source not in useful]
        useful.update(new)
        waiting.extend(dict.fromkeys(new))
    made.arcs = [[arc for arc in arcs if arc.to in useful] for arcs in made.arcs]


def _merge_beginnings(made: Automaton) -> None:
    """Merges what arcs of one state with the same word lead to, if nothing else leads there."""
    entering = Counter(arc.to for arcs in made.arcs for arc in arcs)
    waiting, seen = [0], {0}
    for state in waiting:
        alike: dict[tuple[int, Labels], list[Arc]] = defaultdict(list)
        for arc in made.arcs[state]:
            alike[arc.word, arc.tags].append(arc)
        groups = (_merged(made, group, entering) for group in alike.values())
        made.arcs[state] = [arc for group in groups for arc in group]
        new = dict.fromkeys(arc.to for arc in made.arcs[state] if arc.to not in seen)
        seen.update(new)
        waiting.extend(new)


def _merged(made: Automaton, group: list[Arc], entering: Counter[int]) -> list[Arc]:
    """Merges arcs with the same word and tags as far as possible.

    The cheapest one's cost stays; what others cost more is paid on the arcs behind them.
    """
    mergeable = [
        arc for arc in group
        if arc.word and entering[arc.to] == 1 and all(after.word for after in made.arcs[arc.to])
    ]  # fmt: skip
    if len(mergeable) < 2:
        return group
    best = min(mergeable, key=lambda arc: arc.cost)
    others = set(mergeable) - {best}
    for arc in others:
        more = arc.cost - best.cost
        onward = made.arcs[arc.to]
        made.arcs[best.to].extend(after._replace(cost=after.cost + more) for after in onward)
        made.final[best.to] = min(made.final[best.to], made.final[arc.to] + more)
        made.arcs[arc.to] = []
    return [arc for arc in group if arc not in others]
