"""The parts of `asr bench` that its command line does not show."""

import subprocess
import wave

import numpy as np
import pytest

from asr.audio import read
from asr.benchmark import instructions
from asr.benchmark.clips import read_clips
from asr.benchmark.process import Process
from asr.errors import AsrError, AudioError, ModelError
from tests.evaluation.manifest import cut, write
from tests.models import export_tiny
from tests.sound import record, tone


def test_clips_come_with_their_transcripts(tmp_path):
    said = record(tmp_path / "said.wav", tone(1.0))
    (tmp_path / "said.txt").write_text("one\n two\n")
    unsaid = record(tmp_path / "unsaid.wav", tone(0.5, 8000), 8000)
    clips = read_clips([said, unsaid], 16_000)
    assert [(clip.name, clip.text) for clip in clips] == [("said", "one two"), ("unsaid", None)]
    np.testing.assert_array_equal(clips[0].samples, np.concatenate(list(read(said, 16_000))))
    assert len(clips[1].samples) == 8000


def test_sets_are_cut_and_drawn(tmp_path):
    path = record(tmp_path / "long.flac", tone(2.0))
    cuts = [
        cut(path, 2.0, f"number {i}", name=f"n{i}", start=i / 10, duration=0.5) for i in range(9)
    ]
    manifest = write(tmp_path / "set.jsonl.gz", *cuts)
    clips = read_clips([manifest], 16_000, count=4, seed=1)
    whole = np.concatenate(list(read(path, 16_000)))
    assert len(clips) == 4 and clips == sorted(clips, key=lambda clip: clip.name)
    for clip in clips:
        begin = 1600 * int(clip.name[1:])
        assert clip.text == f"number {clip.name[1:]}"
        np.testing.assert_array_equal(clip.samples, whole[begin : begin + 8000])
    names = [[c.name for c in read_clips([manifest], 16_000, 4, seed)] for seed in (1, 1, 3)]
    assert names[0] == names[1] != names[2]


def test_an_empty_recording_is_refused(tmp_path):
    with wave.open(str(tmp_path / "empty.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", "NONE"))
    with pytest.raises(AudioError, match=r"empty\.wav"):
        read_clips([tmp_path / "empty.wav"], 16_000)


def test_errors_of_the_process_are_those_of_its_work(tmp_path):
    options = {"system": "rill", "precision": "fp32", "graph": None, "device": "cpu"}
    with pytest.raises(ModelError, match="no model folder"):
        Process({**options, "model": str(tmp_path / "nothing")})
    model = str(export_tiny(tmp_path / "tiny"))
    with Process({**options, "model": model}) as process:
        assert process.start_up_cpu > 0
        with pytest.raises(AsrError, match=r"rill: FileNotFoundError.*nothing.npy"):
            process.ask("hear", clip=str(tmp_path / "nothing.npy"), chunk=None)


def test_a_process_that_ends_says_how():
    with pytest.raises(AsrError, match=r"measures pocketsphinx ended with status 3: bad luck"):
        Process({"system": "pocketsphinx"}, ["sh", "-c", "echo bad luck >&2; exit 3"])


def test_counts_of_instructions_are_read():
    """From what the programs write; of valgrind's, those of all threads."""
    assert instructions._counted_by_perf("# started\n\n62134,,instructions:u,9,100.00,,\n") == 62134
    assert instructions._counted_by_perf("<not supported>,,instructions:u,0,100.00,,\n") is None
    said = "==9== # Thread 1\n==9== #   Total instructions: 70\n==9== #   Total instructions: 5\n"
    assert instructions._counted_by_valgrind(said) == 75
    assert instructions._counted_by_valgrind("==9== error\n") is None


def test_instructions_are_counted_here(tmp_path):
    """By the processor, or by valgrind, which `make system` installs."""
    how, counts = instructions.method(), []
    for rounds in (1, 1000):
        command = ["sh", "-c", f"i=0; while [ $i -lt {rounds} ]; do i=$((i + 1)); done"]
        subprocess.run([*instructions.counting(how, tmp_path / "log"), *command], check=True)
        counts.append(instructions.counted(how, tmp_path / "log"))
    assert counts[0] + 100_000 < counts[1]


def test_a_process_that_was_not_counted_is_an_error(tmp_path):
    (tmp_path / "log").write_text("perf: no\nsuch event\n")
    with pytest.raises(AsrError, match="perf counted no instructions: perf: no such event"):
        instructions.counted("perf", tmp_path / "log")
