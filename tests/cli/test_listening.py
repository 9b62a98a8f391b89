"""Grammars, lists of words and phrases on the command line."""

import json
from pathlib import Path

import pytest

from asr.decoding.lexicon import Lexicon
from tests.cli.command import SAID, run, sentence
from tests.sound import record
from tests.test_grammars import TEA


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("talks")
    return [record(folder / f"{number}.wav", sentence(number)) for number in (1, 2)]


@pytest.fixture
def grammar(tmp_path: Path) -> Path:
    path = tmp_path / "tea.jsgf"
    path.write_text(TEA)
    return path


def test_a_match_and_a_rejection_are_told_in_json(talks, grammar, tmp_path):
    options = ("--grammar", grammar, "--nbest", "2", "-f", "json", "-o", tmp_path)
    result = run("transcribe", *talks, "--jobs", "2", *options)
    assert (result.returncode, result.stderr) == (0, "")
    (rejected,) = json.loads((tmp_path / "1.json").read_text())["segments"]
    assert rejected.keys() == {"start", "end", "confidence", "rejected"}
    talk = json.loads((tmp_path / "2.json").read_text())
    (order,) = talk["segments"]
    assert talk["text"] == order["text"] == order["alternatives"][0]["text"] == SAID[2]
    assert (order["intent"], order["slots"]) == ("order", {"drink": "tea"})
    assert order["tags"] == ["bread"]


@pytest.mark.parametrize("form", ["text", "file"])
def test_words_only(talks, tmp_path, form):
    words = f"stop,{SAID[2]}"
    if form == "file":
        (tmp_path / "words").write_text(words.replace(",", "\n") + "\n\n")
        words = f"@{tmp_path / 'words'}"
    result = run("transcribe", *talks, "--words-only", words)
    assert result.stdout.splitlines() == ["[rejected]", SAID[2]]


def test_phrases_are_read(talks, tmp_path):
    (tmp_path / "phrases").write_text("a piece of bread :2\n")
    result = run("transcribe", talks[1], "--phrases", tmp_path / "phrases")
    assert "bread" in result.stdout


def test_a_lexicon_says_how_words_are_said(talks, tmp_path):
    said = Lexicon.pronounce(SAID[2].split())
    phones = (phone for word in SAID[2].split() for phone in said[word][0])
    (tmp_path / "lexicon").write_text(f"order {' '.join(phones)}\n")
    (tmp_path / "phrases").write_text("order :9\n")
    lexicon = ("--lexicon", tmp_path / "lexicon")
    result = run("transcribe", *talks, "--words-only", "stop,order", *lexicon)
    assert result.stdout.splitlines() == ["[rejected]", "order"]
    result = run("transcribe", talks[1], "--phrases", tmp_path / "phrases", *lexicon)
    assert result.stdout == "order\n"


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (["--grammar", "nowhere.jsgf"], 1, "nowhere.jsgf"),
        (["--words-only", "@nowhere"], 1, "cannot read the words nowhere"),
        (["--words-only", "yes,n0"], 1, "cannot pronounce 'n0'"),
        (["--phrases", "nowhere"], 1, "cannot read the phrases nowhere"),
        (["--lm", "nowhere.graph"], 1, "cannot read the graph nowhere.graph"),
        (["--words-only", "yes", "--lm", "x.graph"], 2, "exclude one another"),
        (["--words-only", "yes", "--lexicon", "nowhere"], 1, "cannot read the lexicon nowhere"),
        (["--lexicon", "nowhere"], 2, "--lexicon goes with"),
    ],
)
def test_what_is_wrong_is_told(talks, options, code, reason):
    result = run("transcribe", talks[0], *options)
    assert (result.returncode, result.stdout) == (code, "")
    assert reason in result.stderr
