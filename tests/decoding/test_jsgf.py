"""JSGF is read as its note says, and what is wrong is named with its line and column."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.decoding import jsgf
from asr.decoding.jsgf import MOST_BYTES, MOST_SYMBOLS
from asr.decoding.rules import MOST_DEPTH, RuleGrammar
from asr.errors import GraphError
from tests.decoding.grammars import HEADER, expanded, rule_sets, written


def parsed(text: str) -> RuleGrammar:
    return jsgf.parse(text.encode(), "home.jsgf")


def understood(expansion: str) -> str:
    """An expansion as it was parsed."""
    rules = f"public <x> = {expansion};\n<y> = y; <z> = z;"
    grammar = parsed(f"#JSGF V1.0;\ngrammar com.home;\n{rules}")
    return expanded(grammar.rules["x"].expansion)


@given(rule_sets())
def test_round_trip(rules):
    grammar = parsed(written(rules))
    assert grammar.public == ("Go", "Stop")
    assert written({name: rule.expansion for name, rule in grammar.rules.items()}) == written(rules)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("a b | c", "(/1.0/ (a b) | /1.0/ c)"),
        ("/2/ a | /.5/b|c", "(/2.0/ a | /0.5/ b | /1.0/ c)"),
        ("a [b c]* d+", "(a ([(b c)])* (d)+)"),
        ("(a | b) {t} {u}+", "((/1.0/ a | /1.0/ b) {t} {u})+"),
        ("a b {t}", "(a b {t})"),
        (r"a { x = {\} \\ }", r"a {x = {} \}"),
        ('"New  York" {t}', "(new york) {t}"),
        ('"a \\"b"', '(a "b)'),
        ("Turn ON", "(turn on)"),
        ("<y> <com.home.z> <home.z>", "(<y> <z> <z>)"),
        ("<NULL> | <VOID>", "(/1.0/ <NULL> | /1.0/ <VOID>)"),
        ("a // b\n/* c; \n*/ d", "(a d)"),
        ("a/**/b", "(a b)"),
        ("public import grammar", "(public import grammar)"),
        ("o'clock it's", "(o'clock it's)"),
        ("((((a))))", "a"),
    ],
)
def test_expansions(text, meaning):
    assert understood(text) == meaning


@pytest.mark.parametrize(
    "header",
    [
        "#JSGF V1.0;",
        "\ufeff#JSGF V1.0 UTF-8;",
        "#JSGF\tV1.0 utf-8 en-GB ;\r\n// home\r\n",
        "#JSGF V1.0 US-ASCII en;",
    ],
)
def test_headers(header):
    grammar = parsed(f"{header} grammar home; public <a> = b;")
    assert (grammar.name, grammar.public) == ("home", ("a",))


def test_encoding_of_the_header_counts():
    text = "#JSGF V1.0 ISO8859-1 de;\ngrammar home; public <a> = ja {grüß};"
    grammar = jsgf.parse(text.encode("latin-1"), "home.jsgf")
    assert expanded(grammar.rules["a"].expansion) == "ja {grüß}"


def test_import_from_the_same_grammar():
    text = "#JSGF V1.0; grammar com.home; import <com.home.room>; import <home.*>;"
    assert parsed(f"{text} public <a> = <room>; <room> = hall;").public == ("a",)


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("", "1:1", "expected '#JSGF V1.0;'"),
        ("grammar home;", "1:1", "expected '#JSGF V1.0;'"),
        ("#JSGF V2.0;\n", "1:1", "expected '#JSGF V1.0;'"),
        ("#JSGF V1.0 KOI8-R;", "1:1", "got 'KOI8-R'"),
        ("#JSGF V1.0 rot13;", "1:1", "got 'rot13'"),
        ("#JSGF V1.0;\n", "2:1", "expected 'grammar', got the end of the file"),
        ("#JSGF V1.0;\ngrammar <home>;", "2:9", "expected the grammar's name, got '<home>'"),
        (HEADER, "3:1", "no rule is public"),
        (HEADER + "<a> = b;", "3:9", "no rule is public"),
        (HEADER + "import <other.room>;", "3:8", "a grammar is one file"),
        (HEADER + "import <test.room>;\npublic <a> = b;", "3:8", "<room> is not defined"),
        (HEADER + "public a = b;", "3:8", "expected a rule, as in .*got 'a'"),
        (HEADER + "public <a> b;", "3:12", "expected '=', got 'b'"),
        (HEADER + "public <a> = ;", "3:14", "expected a word, a rule, .* got ';'"),
        (HEADER + "public <a> = b", "3:15", "expected ';', got the end of the file"),
        (HEADER + "public <a> = b |\n | c;", "4:2", "expected a word, .* got '|'"),
        (HEADER + "public <a> = (b ]", "3:17", r"expected '\)', got ']'"),
        (HEADER + "public <a> = (b\n\n  [c) d];", "5:5", r"expected '\]', got '\)'"),
        (HEADER + "public <a> = b /2/ c;", "3:16", "expected ';', got '/2/'"),
        (HEADER + "public <a> = /-2/ b;", "3:14", "expected a weight from 0 .* got '/-2/'"),
        (HEADER + "public <a> = /nan/ b;", "3:14", "expected a weight from 0"),
        (HEADER + "public <a> = /1e400/ b;", "3:14", "expected a weight from 0"),
        (HEADER + "public <a> = /x/ b;", "3:14", "expected a weight from 0"),
        (HEADER + "public <a> = b / c;", "3:16", "a comment or a weight that does not end"),
        (HEADER + "public <a> = b /* c;", "3:16", "a comment or a weight that does not end"),
        (HEADER + "public <a> = b {c;\n", "3:16", "a tag that does not end"),
        (HEADER + 'public <a> = "b;\n";', "3:14", "a quoted token that does not end"),
        (HEADER + 'public <a> = " ";', "3:14", "a quoted token without a word"),
        (HEADER + "public <a = b;", "3:8", "a rule's name that does not end"),
        (HEADER + "public <a> = b*+;", "3:16", r"'\+' behind an operator"),
        (HEADER + "public <a> = * b;", "3:14", r"expected a word, .* got '\*'"),
        (HEADER + "public <a> = {b} c;", "3:14", "expected a word, .* got '{b}'"),
        (HEADER + "public <a> = b\\c;", "3:15", r"got '\\\\'"),
        (HEADER + "public <a> = b;\n <a> = c;", "4:2", "<a> is defined twice"),
        (HEADER + "public <NULL> = b;", "3:8", "<NULL> cannot be defined"),
        (HEADER + "public <a> = <b>\n| <c>; <b> = c;", "4:3", "rule <c> is not defined"),
        (HEADER + "public <a> = <other.b>;", "3:14", "<other.b> is of another grammar than test"),
        (HEADER + "public <a> = b | a <a>;", "3:20", "leads back to itself: <a> -> <a>;"),
        (HEADER + "public <a> = a; <b> = <c>;\n<c> = [<b>];", r"\d:\d+", "leads back to itself: "),
    ],
)
def test_mistakes_are_named_with_line_and_column(text, place, what):
    with pytest.raises(GraphError, match=rf"^home\.jsgf:{place}: .*{what}"):
        parsed(text)


def test_cycle_is_named_rule_by_rule():
    text = HEADER + "public <a> = one <b>;\n<b> = two | three <c>;\n<c> = four <a>;"
    with pytest.raises(GraphError, match=r"<a> -> <b> -> <c> -> <a>|<b> -> <c> -> <a> -> <b>"):
        parsed(text)


def test_broken_utf8_is_named_with_its_place():
    data = (HEADER + "// ä\npublic <a> = ä").encode() + b"\xff;"
    with pytest.raises(GraphError, match=r"^home\.jsgf:4:15: byte 0xff is not utf-8"):
        jsgf.parse(data, "home.jsgf")


def test_file_is_read(tmp_path):
    (tmp_path / "home.jsgf").write_text(HEADER + "public <a> = b;")
    assert jsgf.read(tmp_path / "home.jsgf").public == ("a",)
    with pytest.raises(GraphError, match=r"cannot read the grammar .*nowhere"):
        jsgf.read(tmp_path / "nowhere")
    with pytest.raises(GraphError, match="cannot read the grammar"):
        jsgf.read(tmp_path)


def chain(length: int) -> str:
    rules = (f"<r{n}> = a <r{n + 1}>;" for n in range(length))
    return f"public <a> = <r0>; {' '.join(rules)} <r{length}> = b;"


@pytest.mark.parametrize(
    ("rules", "what"),
    [
        (f"public <a> = {'b|' * 1_000_000} c;", f"more than {MOST_SYMBOLS} words and signs"),
        (f"public <a> = {'(' * 100_000}", f"deeper in each other than {MOST_DEPTH}"),
        (f"public <a> = {'[' * (MOST_DEPTH + 1)} b", f"deeper in each other than {MOST_DEPTH}"),
        (chain(10_000), f"deeper in each other than {MOST_DEPTH}"),
        (f"// {'b' * MOST_BYTES}", f"at most {MOST_BYTES} bytes"),
        ("/* " * 100_000, "a comment or a weight that does not end"),
        ('public <a> = "' + '\\"' * 100_000, "a quoted token that does not end"),
        ("public <a> = b" + "{" * 100_000, "a tag that does not end"),
        ("public <a> = " + "<" * 100_000, "a rule's name that does not end"),
        (f"public <a> = \"{'b ' * 400_000}\";", f"more than {MOST_SYMBOLS} words and signs"),
        (f"public <a> = b {'{x}' * 100_000} {'+' * 100_000}", "behind an operator"),
        (f"public <a> = {'b' * 100_000} /{'9' * 100_000}/;", "expected ';', got '/999"),
    ],
    ids=["alternatives", "groups", "options", "rules", "bytes", "comments", "quotes", "tags",
         "names", "quoted", "operators", "long"],
)  # fmt: skip
def test_hostile_grammars_end_in_an_error(rules, what):
    with pytest.raises(GraphError, match=what) as error:
        parsed(HEADER + rules)
    assert len(str(error.value)) < 200


@given(st.binary(max_size=60) | st.text('<>ab/|()[]{}*+;="\\ \n1.', max_size=60).map(str.encode))
def test_anything_is_a_grammar_or_an_error_with_a_place(junk):
    try:
        jsgf.parse(HEADER.encode() + b"public <a> = b;" + junk, "home.jsgf")
    except GraphError as error:
        assert str(error).startswith("home.jsgf:")
