"""From text to a graph that recognises its sentences, by way of the command."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from asr.cli.graph import graph as command
from asr.decoding.estimate import Text, choose_words, estimate
from asr.decoding.graph import Graph
from asr.decoding.search import GraphSearch, SearchOptions
from asr.errors import GraphError, UsageError
from tests.decoding.world import frames

NOVEL = "the cat sat on the mat\nthe cat ate the rat\na cat sat on a hat\n" * 3
NEWS = "the council sat\nthe council met the mayor\n" * 3

needs_lmplz = pytest.mark.skipif(shutil.which("lmplz") is None, reason="lmplz is not installed")


@pytest.fixture
def novel(tmp_path: Path) -> Path:
    (tmp_path / "novel.txt").write_text(NOVEL)
    return tmp_path / "novel.txt"


@pytest.fixture
def news(tmp_path: Path) -> Path:
    lines = [json.dumps({"text": line.upper()}) for line in NEWS.splitlines()]
    (tmp_path / "news.jsonl").write_text("\n".join(lines))
    return tmp_path / "news.jsonl"


def test_sentences_are_lower_case_from_text_and_manifests(novel, news):
    assert list(Text(novel, 1).sentences()) == NOVEL.splitlines()
    assert list(Text(news, 1).sentences()) == NEWS.splitlines()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{}\n", b"not json\n"])
def test_unreadable_text_is_named(tmp_path, content):
    (tmp_path / "bad.jsonl").write_bytes(content)
    with pytest.raises(GraphError, match=r"bad\.jsonl"):
        list(Text(tmp_path / "bad.jsonl", 1).sentences())
    with pytest.raises(GraphError, match=r"nowhere\.txt"):
        list(Text(tmp_path / "nowhere.txt", 1).sentences())


def test_words_are_chosen_by_relative_frequency():
    large = Counter({"whale": 900, "ship": 100})
    small = Counter({"tea": 8, "ship": 2})
    assert choose_words([large, small], [1, 1], 2) == ("whale", "tea")
    assert choose_words([large, small], [100, 1], 2) == ("whale", "ship")


def test_words_that_were_quoted_or_cannot_be_said_are_not_chosen():
    counts = Counter({"'the": 9, "'twas": 8, "don't": 7, "'": 6, "1984": 5, "é": 4, "a": 1})
    assert choose_words([counts], [1], 10) == ("'twas", "don't", "a")


@needs_lmplz
def test_command_builds_a_graph_that_recognises(novel, news, tmp_path):
    app = typer.Typer()
    app.command()(command)
    output = tmp_path / "small.graph"
    options = ["--text", f"{novel}=3", "--text", str(news), "--ngrams", "60"]
    result = CliRunner().invoke(app, [str(output), *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert str(output) in result.output.splitlines()[-1]
    search = GraphSearch(Graph.load(output), SearchOptions())
    spoken = frames("DH AH - K AE T - S AE T - AA N - DH AH - M AE T -")
    words = [*search.step(spoken)[0]]
    assert " ".join(words) == "the cat sat on the mat"


@needs_lmplz
def test_text_without_words_is_an_error(tmp_path):
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(GraphError):
        estimate([Text(tmp_path / "empty.txt", 1)], 10, 100, lambda _: None)


def test_missing_lmplz_says_how_to_get_it(novel, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(GraphError, match=r"lmplz is missing: .*pip download"):
        estimate([Text(novel, 1)], 10, 100, lambda _: None)


@pytest.mark.parametrize("option", ["novel.txt=much", "novel.txt=0", "novel.txt=-1", "a=nan"])
def test_bad_weight_is_bad_usage(option, tmp_path):
    with pytest.raises(UsageError, match=r"weight|WEIGHT"):
        command(tmp_path / "x.graph", [option], 10, 10)
