"""JSGF, the JSpeech Grammar Format: from text to a tree of rules.

As the W3C note of 5 June 2000 (https://www.w3.org/TR/2000/NOTE-jsgf-20000605/) has it, except that
a grammar is one file, that no rule may lead back to itself, and that case does not matter in words.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, NamedTuple

from asr.decoding.rules import (
    MOST_DEPTH,
    NULL,
    TOO_DEEP,
    VOID,
    Alternatives,
    Reference,
    Repeat,
    Rule,
    RuleGrammar,
    Sequence,
    Source,
    Tag,
    Tagged,
    Word,
)
from asr.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from asr.decoding.rules import Expansion

MOST_BYTES = 8 << 20
"""Larger files are refused."""

MOST_SYMBOLS = 300_000
"""How many words, rule names, tags and signs a file may have."""

MOST_WEIGHT = 1e9

ENCODINGS = ("utf-8", "ascii", "iso8859-1")


def read(path: Path) -> RuleGrammar:
    """Reads a file.

    Raises:
        GraphError: it cannot be read, or `parse` refuses it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise GraphError(f"cannot read the grammar {path}: {error.strerror}") from error
    return parse(data, str(path))


def parse(data: bytes, file: str) -> RuleGrammar:
    """Parses a grammar.

    Args:
        data: the file's content.
        file: its name, for messages.

    Raises:
        GraphError: the data is no JSGF, or beyond what this module bounds; with line and column.
    """
    source = Source(file, _decoded(data, file))
    return _Parser(source).grammar()


_HEADER = re.compile(r"\ufeff?#JSGF[ \t]+V1\.0(?:[ \t]+([^\s;]+))?(?:[ \t]+[^\s;]+)?[ \t]*;")

_SYMBOL = re.compile(
    r"""
      (?P<skipped> \s+ | //[^\n]* | /\*.*?\*/ )
    | (?P<word>    [^\s;=|*+<>()\[\]{}/"\\]+ )
    | (?P<sign>    [;=|*+()\[\]] )
    | (?P<rule>    <[^<>\s]+> )
    | (?P<tag>     \{ [^\\}]* (?: \\. [^\\}]* )* \} )
    | (?P<weight>  / [^/*\n]* / )
    | (?P<quoted>  " [^\\"\n]* (?: \\. [^\\"\n]* )* " )
    """,
    re.VERBOSE | re.DOTALL,
)

_TOO_LARGE = f"the grammar is too large: more than {MOST_SYMBOLS} words and signs"

_UNFINISHED = {
    "/": "a comment or a weight that does not end",
    "<": "a rule's name that does not end with '>', or has a space in it",
    "{": "a tag that does not end with '}'",
    '"': "a quoted token that does not end with '\"' on its line",
}


class _Symbol(NamedTuple):
    """A piece of the text; its kind is that of its group in `_SYMBOL`, or "end"."""

    kind: str
    text: str
    offset: int

    def __str__(self) -> str:
        return "the end of the file" if self.kind == "end" else repr(self.text[:40])


def _unescaped(symbol: _Symbol) -> str:
    """What stands between the signs at both ends, with backslashes taken off what they protect."""
    return re.sub(r"\\(.)", r"\1", symbol.text[1:-1], flags=re.DOTALL)


def _decoded(data: bytes, file: str) -> str:
    """Decodes the file as its header says, UTF-8 if it says nothing."""
    if len(data) > MOST_BYTES:
        raise GraphError(f"{file}: a grammar has at most {MOST_BYTES} bytes, this one has more")
    header = _HEADER.match(data[:200].decode("utf-8", "replace"))
    encoding = (header and header[1]) or "utf-8"
    try:
        known = codecs.lookup(encoding).name
    except LookupError:
        known = encoding
    if known not in ENCODINGS:
        raise GraphError(f"{file}:1:1: expected one of the encodings {ENCODINGS}, got {encoding!r}")
    try:
        return data.decode(known)
    except UnicodeDecodeError as error:
        before = Source(file, data[: error.start].decode(known))
        raise before.error(
            len(before.text),
            f"byte 0x{data[error.start]:02x} is not {known}: save the grammar as UTF-8, or name "
            "its encoding in the first line, as in '#JSGF V1.0 ISO8859-1;'",
        ) from error


def _symbols(source: Source, begin: int) -> Iterator[_Symbol]:
    text, offset, symbols = source.text, begin, 0
    while found := _SYMBOL.match(text, offset):
        if found.lastgroup != "skipped":
            symbols += 1
            if symbols > MOST_SYMBOLS:
                raise source.error(offset, _TOO_LARGE)
            yield _Symbol(found.lastgroup or "", found[0], offset)
        offset = found.end()
    if offset < len(text):
        what = _UNFINISHED.get(text[offset], repr(text[offset]))
        raise source.error(offset, f"expected words, rules and signs, got {what}")
    yield _Symbol("end", "", offset)


class _Parser:
    """Recursive descent; `symbol` is the one that comes next."""

    def __init__(self, source: Source) -> None:
        self.source = source
        header = _HEADER.match(source.text)
        if header is None:
            raise source.error(0, "expected '#JSGF V1.0;' in the first line")
        self.symbols = _symbols(source, header.end())
        self.symbol = next(self.symbols)
        self.name = self.rule_name = ""
        self.depth = self.deepest = self.quoted_words = 0
        self.references: list[Reference] = []

    def grammar(self) -> RuleGrammar:
        self.keyword("grammar")
        self.name = self.take("word", "the grammar's name").text
        self.sign(";")
        imports = list(self.imports())
        rules: dict[str, Rule] = {}
        while self.symbol.kind != "end":
            begin = self.symbol.offset
            rule = self.rule()
            if rule.name in rules:
                raise self.source.error(begin, f"rule <{rule.name}> is defined twice")
            rules[rule.name] = rule
        grammar = RuleGrammar(self.source, self.name, rules)
        grammar.check(imports)
        return grammar

    def imports(self) -> Iterator[Reference]:
        while self.symbol[:2] == ("word", "import"):
            self.next()
            symbol = self.take("rule", "a rule to import, as in <home.room>")
            self.sign(";")
            grammar, _, rule = symbol.text[1:-1].rpartition(".")
            if not self.is_own(grammar):
                raise self.source.error(
                    symbol.offset,
                    f"cannot import {symbol.text}: a grammar is one file; copy its rules here",
                )
            if rule != "*":
                yield Reference(rule, symbol.offset)

    def rule(self) -> Rule:
        public = self.symbol[:2] == ("word", "public")
        if public:
            self.next()
        symbol = self.take("rule", "a rule, as in 'public <command> = ...;'")
        self.rule_name = name = symbol.text[1:-1]
        if name in {"NULL", "VOID"} or "." in name:
            raise self.source.error(symbol.offset, f"{symbol.text} cannot be defined")
        self.sign("=")
        self.deepest, self.references = 0, []
        expansion = self.alternatives()
        self.sign(";")
        return Rule(name, expansion, public, self.deepest, tuple(self.references))

    def alternatives(self) -> Expansion:
        weights, items = [self.weight()], [self.sequence()]
        while self.symbol.text == "|":
            self.next()
            weights.append(self.weight())
            items.append(self.sequence())
        return items[0] if len(items) == 1 else Alternatives(tuple(items), tuple(weights))

    def weight(self) -> float:
        if self.symbol.kind != "weight":
            return 1.0
        symbol = self.next()
        try:
            weight = float(symbol.text[1:-1])
        except ValueError:
            weight = -1.0
        if not 0 <= weight <= MOST_WEIGHT:
            raise self.source.error(
                symbol.offset, f"expected a weight from 0 to {MOST_WEIGHT:g}, got {symbol.text!r}"
            )
        return weight

    def sequence(self) -> Expansion:
        items = [self.item()]
        while self.symbol.kind in {"word", "quoted", "rule"} or self.symbol.text in {"(", "["}:
            items.append(self.item())
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    def item(self) -> Expansion:
        """A word, rule or group, with the tags and the one operator that may stand behind it."""
        item = self.tagged(self.operand())
        if self.symbol.text not in {"*", "+"}:
            return item
        item = self.tagged(Repeat(item, least=int(self.next().text == "+")))
        if self.symbol.text in {"*", "+"}:
            raise self.source.error(
                self.symbol.offset, f"{self.symbol} behind an operator: put the first in '(...)'"
            )
        return item

    def tagged(self, item: Expansion) -> Expansion:
        tags = []
        while self.symbol.kind == "tag":
            tags.append(Tag(self.rule_name, _unescaped(self.next()).strip()))
        return Tagged(item, tuple(tags)) if tags else item

    def operand(self) -> Expansion:
        symbol = self.next()
        if symbol.kind == "word":
            return Word(symbol.text.lower(), symbol.offset)
        if symbol.kind == "quoted":
            return self.quoted(symbol)
        if symbol.kind == "rule":
            return self.reference(symbol)
        if symbol.text == "(":
            return self.group(")")
        if symbol.text == "[":
            return Alternatives((self.group("]"), NULL), (1.0, 1.0))
        raise self.source.error(symbol.offset, f"expected a word, a rule, '(' or '[', got {symbol}")

    def group(self, end: str) -> Expansion:
        self.depth += 1
        self.deepest = max(self.deepest, self.depth)
        if self.depth > MOST_DEPTH:
            raise self.source.error(self.symbol.offset, TOO_DEEP)
        inner = self.alternatives()
        self.sign(end)
        self.depth -= 1
        return inner

    def quoted(self, symbol: _Symbol) -> Expansion:
        """A quoted token is its words, one after the other."""
        words: list[Expansion] = []
        for found in re.finditer(r"\S+", _unescaped(symbol)):
            words.append(Word(found[0].lower(), symbol.offset + 1 + found.start()))
            self.quoted_words += 1
            if self.quoted_words > MOST_SYMBOLS:
                raise self.source.error(symbol.offset, _TOO_LARGE)
        if not words:
            raise self.source.error(symbol.offset, "a quoted token without a word; use <NULL>")
        return Sequence(tuple(words))

    def reference(self, symbol: _Symbol) -> Expansion:
        grammar, _, name = symbol.text[1:-1].rpartition(".")
        if name in {"NULL", "VOID"}:
            return NULL if name == "NULL" else VOID
        if grammar and not self.is_own(grammar):
            raise self.source.error(
                symbol.offset, f"{symbol.text} is of another grammar than {self.name}"
            )
        self.references.append(Reference(name, symbol.offset))
        return self.references[-1]

    def is_own(self, grammar: str) -> bool:
        """Whether a name is this grammar's, in full or without what stands before its dots."""
        return f".{self.name}".endswith(f".{grammar}")

    def next(self) -> _Symbol:
        symbol = self.symbol
        if symbol.kind != "end":
            self.symbol = next(self.symbols)
        return symbol

    def take(self, kind: str, what: str) -> _Symbol:
        if self.symbol.kind != kind:
            raise self.source.error(self.symbol.offset, f"expected {what}, got {self.symbol}")
        return self.next()

    def keyword(self, word: str) -> None:
        if self.symbol[:2] != ("word", word):
            raise self.source.error(self.symbol.offset, f"expected {word!r}, got {self.symbol}")
        self.next()

    def sign(self, sign: str) -> None:
        if self.symbol.text != sign:
            raise self.source.error(self.symbol.offset, f"expected {sign!r}, got {self.symbol}")
        self.next()
