"""`asr prepare` as a user sees it."""

import json

import numpy as np

from tests.cli.command import run
from tests.sound import record, tone


def test_what_was_prepared_and_what_was_skipped_is_said(tmp_path):
    for name, samples in (("good", tone(1)), ("silent", np.zeros(16_000))):
        record(tmp_path / f"{name}.flac", samples)
    lines = [{"audio": f"{name}.flac", "text": "hello"} for name in ("good", "silent", "lost")]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    result = run("prepare", "manifest", "train.jsonl", "-o", "data", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "data/train.jsonl.gz: 1 utterances, 0.00 h",
        "skipped 2: 1 silent audio, 1 no audio; see data/skipped.tsv",
    ]
    assert (tmp_path / "data" / "skipped.tsv").read_text().count("\n") == 3


def test_a_folder_that_is_no_corpus_is_one_line_and_status_1(tmp_path):
    result = run("prepare", "librispeech", "nowhere", cwd=tmp_path)
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("asr: nowhere holds no") and result.stderr.count("\n") == 1


def test_a_corpus_that_is_not_known_is_wrong_usage(tmp_path):
    result = run("prepare", tmp_path)
    assert result.returncode == 2 and "asr prepare --help" in result.stderr
