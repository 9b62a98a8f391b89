"""`asr eval` as a user runs it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from asr.cli.recognizers import model_folder
from asr.training.augment import noise_clips
from tests.cli.command import SAID, run, sentence
from tests.decoding.world import LEXICON, small_graph
from tests.evaluation.manifest import cut, write
from tests.sound import record

MODEL = model_folder(None)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sentences, in one a word that is not said; and one whose file is missing."""
    folder = tmp_path_factory.mktemp("set")
    cuts = []
    for number, speaker in enumerate(("ann", "ann", "bob")):
        samples = sentence(number)
        path = record(folder / f"s{number}.flac", samples)
        seconds = len(samples) / 16_000
        text = SAID[number].replace("tea", "coffee")
        cuts.append(cut(path, seconds, text, source=f"of {speaker}", speaker=speaker))
    lost = cut(folder / "lost.flac", 1.0, "lost", source="of ann", speaker="ann")
    return write(folder / "set.jsonl.gz", *cuts, lost)


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    for number in range(30):
        record(folder / f"clip{number}.flac", rng.standard_normal(32_000).astype(np.float32) / 8)
    assert noise_clips(folder, held_out=True)
    return folder


def test_a_set_is_measured_and_reported(manifest: Path, noise: Path, tmp_path: Path) -> None:
    result = run(
        "eval", MODEL, manifest, "--noise", noise, "--snr", "-10",
        "--json", tmp_path / "new" / "eval.json", "--report", tmp_path / "eval.html",
    )  # fmt: skip
    assert result.returncode == 1  # a recording is missing
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("asr: lost: cannot read ") and "lost.flac" in result.stderr
    for title in ("Errors by source", "Time", "Confidence of words", "-10 dB", "REF: "):
        assert title in result.stdout

    facts = json.loads((tmp_path / "new" / "eval.json").read_text())
    assert [row["name"] for row in facts["sources"]] == ["of ann", "of bob", "all"]
    whole = facts["sources"][-1]
    assert (whole["utterances"], whole["speakers"]) == (3, 2)
    assert whole["words"]["length"] == sum(len(said.split()) for said in SAID[:3])
    assert whole["words"]["rate"] < 0.3
    low, high = whole["words"]["interval"]
    assert low <= whole["words"]["rate"] <= high
    (noisy,) = facts["noise"]
    assert noisy["snr"] == -10 and noisy["sources"][-1]["words"]["rate"] > 0.5
    assert noisy["calibration"]["correct"] < facts["calibration"]["correct"]
    timing = facts["timings"]["all"]
    assert 0.1 < timing["emission"]["median"] < 0.6 < timing["final"]["median"] < 2.0
    assert (timing["unaligned"], timing["unended"]) == (0, 0)
    assert timing["start_error"] < 0.1 and 0 <= timing["flicker"] < 1
    assert sum(one["words"] for one in facts["calibration"]["bins"]) > 20
    assert [one["id"] for one in facts["utterances"]] == ["s0", "s1", "s2"] * 2

    page = (tmp_path / "eval.html").read_text()
    assert page.count("<svg") == 7  # five figures, and an utterance of each source
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)|@import|url\((?!#)""", page)
    assert "prefers-color-scheme: dark" in page and "children" in page


def test_another_graph_is_measured(manifest: Path, tmp_path: Path) -> None:
    small_graph().save(tmp_path / "small.graph")
    result = run(
        "eval", MODEL, manifest, "--lm", tmp_path / "small.graph", "--json", tmp_path / "eval.json"
    )  # fmt: skip
    assert result.returncode == 1  # a recording is missing
    facts = json.loads((tmp_path / "eval.json").read_text())
    heard = {word for one in facts["utterances"] for word in one["heard"].split()}
    assert heard and heard <= LEXICON.keys()
    assert facts["sources"][-1]["words"]["rate"] > 0.8


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--snr", "10"], "--noise and --snr go together"),
        (["--noise", ".", "--snr", "ten"], "expected --snr DB,DB"),
        (["--chunk-ms", "0"], "--chunk-ms"),
    ],
)
def test_a_wrong_call_is_one_line_and_status_2(arguments: list[str], told: str) -> None:
    result = run("eval", MODEL, "set.jsonl", *arguments)
    assert result.returncode == 2 and told in result.stderr and result.stderr.count("\n") == 1


def test_missing_noise_is_told_before_anything_is_heard(manifest: Path, tmp_path: Path) -> None:
    result = run("eval", MODEL, manifest, "--noise", tmp_path, "--snr", "5")
    assert result.returncode == 1 and result.stdout == ""
    assert "holds no noise" in result.stderr and result.stderr.count("\n") == 1


def test_without_torch_it_says_what_to_install(manifest: Path) -> None:
    code = (
        "import sys; sys.modules['torchaudio'] = None; import asr.cli; "
        f"sys.argv = ['asr', 'eval', {str(MODEL)!r}, {str(manifest)!r}]; asr.cli.main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1 and result.stdout == ""
    assert "needs torchaudio" in result.stderr and "rill-asr[eval]" in result.stderr
