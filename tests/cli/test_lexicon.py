"""`asr lexicon` as a user runs it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.command import run

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed"
)


@needs_espeak
def test_show_names_who_says_so(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("tomato T OW M AA\n")
    result = run("lexicon", "show", "Read", "siobhan", "xanthippe", "tomato", "-l", own)
    assert (result.returncode, result.stderr) == (0, "")
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert ["read", "R EH D", "graph"] in lines
    assert ["read", "R IY D", "graph"] in lines
    assert ["siobhan", "SH AH V AO N", "CMU dictionary"] in lines
    assert ["tomato", "T OW M AA", str(own)] in lines
    assert [(word, source) for word, _, source in lines if word == "xanthippe"] == [
        ("xanthippe", "espeak-ng")
    ]


def test_add_keeps_what_is_there(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    for phones in (["SH", "AH", "V", "AO", "N"], ["S", "IY", "AH", "N"], ["S", "IY", "AH", "N"]):
        assert run("lexicon", "add", own, "Siobhan", *phones).returncode == 0
    assert run("lexicon", "add", own, "read").returncode == 0
    assert own.read_text() == (
        "siobhan SH AH V AO N\nsiobhan S IY AH N\nread R EH D\nread R IY D\n"
    )


@needs_espeak
def test_test_prefers_what_is_said(tmp_path: Path) -> None:
    said = tmp_path / "said.wav"
    subprocess.run(["espeak-ng", "-v", "en-us", "-w", said, "reed"], check=True)
    result = run("lexicon", "test", "read", said)
    assert (result.returncode, result.stderr) == (0, "")
    heard, *ways = [line.split("\t") for line in result.stdout.splitlines()]
    assert heard[0] == "heard"
    far = {phones: float(distance) for distance, phones, _ in ways}
    assert far["R IY D"] < far["R EH D"]


@pytest.mark.parametrize(
    ("arguments", "code", "wrong"),
    [
        (["show", "naïve"], 1, "expected words of a to z and apostrophe, got 'naïve'"),
        (["add", "own.txt", "so", "S", "XX"], 1, "expected a word and its phones"),
        (["add", "own.txt", "2", "T", "UW"], 2, "expected a word of a to z"),
        (["add", "no/where.txt", "so", "S", "OW"], 1, "cannot write no/where.txt"),
        (["test", "so", "nowhere.wav"], 1, "nowhere.wav"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path, arguments, code, wrong) -> None:
    result = run("lexicon", *arguments, cwd=tmp_path)
    assert result.returncode == code
    assert result.stderr.count("\n") == 1
    assert wrong in result.stderr


def test_a_long_recording_is_no_word(tmp_path: Path) -> None:
    from tests.cli.command import clip
    from tests.sound import record

    talk = record(tmp_path / "talk.wav", clip())
    result = run("lexicon", "test", "read", talk)
    assert result.returncode == 1
    assert "expected a recording of one word" in result.stderr
