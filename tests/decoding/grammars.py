"""Random grammars, written out as JSGF; and what they allow, by the book, to compare with."""

import math
from collections.abc import Iterable
from itertools import chain

from hypothesis import strategies as st

from asr.decoding.lexicon import Lexicon
from asr.decoding.rules import (
    NULL,
    VOID,
    Alternatives,
    Expansion,
    Reference,
    Repeat,
    Sequence,
    Tag,
    Tagged,
    Word,
)

LEXICON = Lexicon.from_text(
    """\
a AH
a EY
red R EH D
read R IY D
read R EH D
reed R IY D
tea T IY
pot P AA T
teapot T IY P AA T
"""
)

HOUSE = Lexicon.from_text(
    """\
please P L IY Z
turn T ER N
the DH AH
the DH IY
kitchen K IH CH AH N
living L IH V IH NG
room R UW M
hall HH AO L
light L AY T
on AA N
off AO F
"""
)

SYLLABLES = Lexicon(
    {
        "".join((a, b, c)): ((a.upper(), vowel, c.upper()),)
        for a in "bdfkl"
        for b, vowel in {"a": "AE", "e": "EH", "i": "IH", "o": "AA", "u": "AH"}.items()
        for c in "nmst"
    }
)
"""A hundred words."""

HEADER = "#JSGF V1.0 UTF-8 en;\ngrammar test;\n"

Rules = dict[str, Expansion]
Utterance = tuple[list[str], list[str]]


def words() -> st.SearchStrategy[Word]:
    return st.sampled_from(list(LEXICON)).map(lambda text: Word(text, 0))


def groups(inner: st.SearchStrategy[Expansion]) -> st.SearchStrategy[Expansion]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(
        several.map(Sequence),
        several.flatmap(
            lambda items: st.builds(
                Alternatives,
                st.just(items),
                st.tuples(*[st.sampled_from((1.0, 0.0, 3.0, 0.25))] * len(items)),
            )
        ),
        inner.map(lambda item: Alternatives((item, NULL), (1.0, 1.0))),
        st.builds(Repeat, inner, st.sampled_from((0, 1))),
        st.builds(tagged, inner, words(), st.sampled_from(("x", "on=1", "on = 0", "to=b c"))),
    )


def tagged(item: Expansion, word: Word, text: str) -> Tagged:
    """A tag, never behind what may be nothing: which of two such tags counts is not defined."""
    return Tagged(Sequence((item, word)), (Tag("", text),))


def expansions(*rules: str) -> st.SearchStrategy[Expansion]:
    references = [st.just(Reference(rule, 0)) for rule in rules]
    leaves = st.one_of(words(), words(), st.sampled_from((NULL, VOID)), *references)
    return st.recursive(leaves, groups, max_leaves=10)


@st.composite
def rule_sets(draw: st.DrawFn) -> Rules:
    """Rules each of which may refer to those after it; those with capital letters are public.

    The public ones begin with a word of their own, so that no utterance follows both.
    """
    return {
        "Go": Sequence((Word("pot", 0), draw(expansions("room", "thing")))),
        "Stop": Sequence((Word("red", 0), draw(expansions("room", "thing")))),
        "room": draw(expansions("thing")),
        "thing": draw(expansions()),
    }


def written(rules: Rules) -> str:
    lines = (
        f"{'public ' if name.istitle() else ''}<{name}> = {expanded(node)};\n"
        for name, node in rules.items()
    )
    return HEADER + "".join(lines)


def expanded(node: Expansion) -> str:
    match node:
        case Word(text):
            return text
        case Reference(rule):
            return f"<{rule}>"
        case Sequence(()):
            return "<NULL>"
        case Sequence(items):
            return f"({' '.join(map(expanded, items))})"
        case Alternatives(()):
            return "<VOID>"
        case Alternatives((item, Sequence(())), (1.0, 1.0)):
            return f"[{expanded(item)}]"
        case Alternatives(items, weights):
            pairs = zip(weights, items, strict=True)
            return f"({' | '.join(f'/{weight}/ {expanded(item)}' for weight, item in pairs)})"
        case Repeat(item, least):
            return f"({expanded(item)}){'*+'[least]}"
        case Tagged(item, tags):
            return " ".join([expanded(item), *(f"{{{tag.text}}}" for tag in tags)])


@st.composite
def utterances(draw: st.DrawFn, node: Expansion, rules: Rules) -> Utterance | None:
    """Words that a rule allows, and the tags of saying them so; None if this way is closed."""

    def say(node: Expansion) -> Utterance | None:
        match node:
            case Word(text):
                return [text], []
            case Reference(rule):
                return say(rules[rule])
            case Sequence(items):
                return joined([say(item) for item in items])
            case Alternatives(items, weights):
                open_ways = [item for item, weight in zip(items, weights, strict=True) if weight]
                return say(draw(st.sampled_from(open_ways))) if open_ways else None
            case Repeat(item, least):
                times = draw(st.integers(least, 2))
                return joined([say(item) for _ in range(times)])
            case Tagged(item, tags):
                return joined([say(item), ([], [tag.text for tag in tags])])

    return say(node)


def joined(parts: list[Utterance | None]) -> Utterance | None:
    if None in parts:
        return None
    said = [part for part in parts if part is not None]
    return tuple(list(chain(*column)) for column in zip(([], []), *said, strict=True))


Costs = dict[int, float]


def cost(words: list[str], rules: Rules) -> float:
    """What it costs to say some words by the cheapest way through the public rules."""
    public = [name for name in rules if name.istitle()]
    ends = [ways(rules[name], words, {0: math.log(len(public))}, rules) for name in public]
    return min(end.get(len(words), math.inf) for end in ends)


def ways(node: Expansion, words: list[str], begins: Costs, rules: Rules) -> Costs:
    """Where in some words an expansion can end, given where it can begin; and the costs."""
    match node:
        case Word(text):
            return {at + 1: paid for at, paid in begins.items() if words[at : at + 1] == [text]}
        case Reference(rule):
            return ways(rules[rule], words, begins, rules)
        case Sequence(items):
            for item in items:
                begins = ways(item, words, begins, rules)
            return begins
        case Alternatives(items, weights):
            return cheapest(
                ways(item, words, plus(begins, -math.log(weight / sum(weights))), rules)
                for item, weight in zip(items, weights, strict=True)
                if weight
            )
        case Repeat(item, least):
            half = math.log(2)
            skipped = plus(begins, half) if least == 0 else {}
            ends: Costs = {}
            begins = begins if least else plus(begins, half)
            for _ in range(len(words) + 1):
                begins = ways(item, words, begins, rules)
                ends = cheapest([ends, plus(begins, half)])
                begins = plus(begins, half)
            return cheapest([skipped, ends])
        case Tagged(item):
            return ways(item, words, begins, rules)


def plus(costs: Costs, more: float) -> Costs:
    return {at: paid + more for at, paid in costs.items()}


def cheapest(several: Iterable[Costs]) -> Costs:
    best: Costs = {}
    for costs in several:
        for at, paid in costs.items():
            best[at] = min(paid, best.get(at, math.inf))
    return best
