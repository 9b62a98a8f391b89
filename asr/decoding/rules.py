"""Grammars as trees of rules, whatever they were written in."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from asr.errors import GraphError

MOST_DEPTH = 64
"""How deep groups may lie in each other, those in rules that are referred to counted with them."""

TOO_DEEP = f"groups lie deeper in each other than {MOST_DEPTH} levels; make it flatter"


@dataclass(frozen=True, slots=True)
class Word:
    """A word to be said; where it stands is kept for messages about it."""

    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class Reference:
    """A rule by its name, `<room>`."""

    rule: str
    offset: int


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other; none at all is `<NULL>`, which is matched by saying nothing."""

    items: tuple[Expansion, ...]


@dataclass(frozen=True, slots=True)
class Alternatives:
    """One of several; of none is `<VOID>`, which nothing matches. Weights are relative."""

    items: tuple[Expansion, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """Any number of times if `least` is 0, as `*`; at least once if it is 1, as `+`."""

    item: Expansion
    least: int


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag `{...}` and the rule that it stands in."""

    rule: str
    text: str


@dataclass(frozen=True, slots=True)
class Tagged:
    """What tags stand behind."""

    item: Expansion
    tags: tuple[Tag, ...]


Expansion = Word | Reference | Sequence | Alternatives | Repeat | Tagged

NULL = Sequence(())
VOID = Alternatives((), ())


@dataclass(frozen=True)
class Rule:
    """A rule: its name without brackets, what it stands for, and how deep groups lie in it."""

    name: str
    expansion: Expansion
    public: bool
    depth: int
    references: tuple[Reference, ...]


@dataclass(frozen=True)
class Source:
    """A text that errors can point into.

    Attributes:
        file: what it is called in messages.
        text: all of it.
    """

    file: str
    text: str

    def error(self, offset: int, message: str) -> GraphError:
        """Makes an error that names file, line and column, both from 1 on."""
        line = self.text.count("\n", 0, offset) + 1
        column = offset - self.text.rfind("\n", 0, offset)
        return GraphError(f"{self.file}:{line}:{column}: {message}")


@dataclass(frozen=True)
class RuleGrammar:
    """A grammar as it is written: every reference has its rule, and none leads back to itself."""

    source: Source
    name: str
    rules: dict[str, Rule]

    @property
    def public(self) -> tuple[str, ...]:
        """The rules that an utterance may follow."""
        return tuple(rule.name for rule in self.rules.values() if rule.public)

    def check(self, imports: list[Reference]) -> None:
        """Sees to it that all rules that are named exist, none leading to itself or too deep.

        Args:
            imports: rules that are named outside the rules.

        Raises:
            GraphError: one does not exist, or leads there.
        """
        if not self.public:
            end = len(self.source.text)
            raise self.source.error(end, "no rule is public: write 'public <command> = ...;'")
        named = (reference for rule in self.rules.values() for reference in rule.references)
        for reference in (*imports, *named):
            if reference.rule not in self.rules:
                raise self.source.error(reference.offset, f"rule <{reference.rule}> is not defined")
        depth: dict[str, int] = {}
        for rule in self._inner_first():
            below = (1 + depth[reference.rule] for reference in rule.references)
            depth[rule.name] = rule.depth + max(below, default=0)
            if depth[rule.name] > MOST_DEPTH:
                raise self.source.error(rule.references[0].offset, TOO_DEEP)

    def _inner_first(self) -> list[Rule]:
        """All rules, those that a rule refers to before it."""
        graph = {
            name: [reference.rule for reference in rule.references]
            for name, rule in self.rules.items()
        }
        try:
            return [self.rules[name] for name in TopologicalSorter(graph).static_order()]
        except CycleError as error:
            cycle = error.args[1][::-1]  # each refers to the next, the last is the first
        references = self.rules[cycle[0]].references
        where = next(reference for reference in references if reference.rule == cycle[1])
        way = " -> ".join(f"<{name}>" for name in cycle)
        raise self.source.error(
            where.offset, f"a rule leads back to itself: {way}; say it with '*' or '+'"
        )
