"""Manifests, and the sound that they name."""

from pathlib import Path

import numpy as np
import pytest
from lhotse import CutSet

from asr.errors import AsrError, AudioError
from asr.evaluation.utterances import read_set
from tests.evaluation.manifest import cut, utterances, write
from tests.sound import record, tone


def test_an_utterance_has_its_text_speaker_source_and_sound(tmp_path: Path) -> None:
    path = record(tmp_path / "a.flac", tone(2))
    (one,) = utterances(
        tmp_path / "set.jsonl", cut(path, 2.0, " a  b", source="books", speaker="ann")
    )
    assert (one.id, one.text, one.speaker, one.source) == ("a", "a b", "ann", "books")
    assert len(one.samples(16_000)) == 32_000


def test_an_utterance_is_a_part_of_a_recording(tmp_path: Path) -> None:
    sound = np.concatenate([tone(1), np.zeros(16_000, np.float32), tone(1)])
    path = record(tmp_path / "a.flac", sound)
    (one,) = utterances(tmp_path / "set.jsonl", cut(path, 3.0, "", start=1.0, duration=1.0))
    samples = one.samples(16_000)
    assert len(samples) == 16_000 and np.abs(samples).max() < 0.01


def test_without_names_each_utterance_is_a_speaker(tmp_path: Path) -> None:
    paths = [record(tmp_path / f"{name}.flac", tone(1)) for name in "ab"]
    found = utterances(tmp_path / "set.jsonl", *(cut(path, 1.0, "x") for path in paths))
    assert [(one.speaker, one.source) for one in found] == [("a", "unknown"), ("b", "unknown")]


def test_a_part_behind_the_end_is_an_error(tmp_path: Path) -> None:
    path = record(tmp_path / "a.flac", tone(1))
    (one,) = utterances(tmp_path / "set.jsonl", cut(path, 9.0, "x", start=5.0, duration=1.0))
    with pytest.raises(AudioError, match="no sound at 5"):
        one.samples(16_000)


def test_what_is_no_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AsrError, match="there is no manifest"):
        read_set(tmp_path / "missing.jsonl")
    (tmp_path / "bad.jsonl").write_text("{\n")
    with pytest.raises(AsrError, match="no lhotse manifest"):
        read_set(tmp_path / "bad.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(AsrError, match="empty"):
        read_set(tmp_path / "empty.jsonl")


def test_a_cut_of_several_utterances_is_an_error(tmp_path: Path) -> None:
    path = record(tmp_path / "a.flac", tone(1))
    both = cut(path, 1.0, "x")
    both.supervisions *= 2
    CutSet.from_cuts([both]).to_file(tmp_path / "set.jsonl")
    with pytest.raises(AsrError, match="trim_to_supervisions"):
        read_set(tmp_path / "set.jsonl")
    with pytest.raises(AsrError, match="one with text"):
        read_set(write(tmp_path / "no.jsonl", cut(path, 1.0, None)))
