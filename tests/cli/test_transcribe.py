"""`asr transcribe` as a user runs it."""

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from asr.cli.demo import CLIP
from tests.cli.command import SAID, assert_heard, run, sentence, start
from tests.sound import record


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A sentence in each of two files."""
    folder = tmp_path_factory.mktemp("talks")
    return [
        record(folder / "sun.flac", sentence(0)),
        record(folder / "old man.wav", sentence(1)),
    ]


def test_a_recording_is_printed_segment_by_segment() -> None:
    result = run("transcribe", CLIP)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) == len(SAID)
    for line, said in zip(lines, SAID, strict=True):
        assert_heard(line, said, 0.7)


def test_results_come_in_the_order_of_the_files_however_many_processes(talks: list[Path]) -> None:
    talks = [talks[1], talks[0], talks[1]]
    alone = run("transcribe", *talks)
    together = run("transcribe", *talks, "--jobs", "2")
    assert alone.stdout == together.stdout
    for line, said in zip(alone.stdout.splitlines(), [SAID[1], SAID[0], SAID[1]], strict=True):
        assert_heard(line, said)


def test_all_formats_are_written_to_a_folder(talks: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    result = run("transcribe", *talks, "-f", "all", "--words", "-o", folder)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    suffixes = ["ctm", "json", "srt", "tsv", "txt", "vtt"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{name}.{suffix}" for name in ("sun", "old man") for suffix in suffixes
    )
    talk = json.loads((folder / "sun.json").read_text())
    assert_heard(talk["text"], SAID[0])
    times = [time for word in talk["segments"][0]["words"] for time in (word["start"], word["end"])]
    assert times == sorted(times) and times[-1] <= 4.6
    assert (folder / "old man.ctm").read_text().startswith("old_man 1 ")


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_raw_samples_come_from_standard_input(rate: int) -> None:
    import soxr

    samples = soxr.resample(sentence(0), 16_000, rate)
    raw = (np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes()
    result = run("transcribe", "-", "--rate", str(rate), input=raw)
    assert_heard(result.stdout.decode(), SAID[0], 0.6 if rate < 16_000 else 0.8)


def test_the_first_segment_of_a_live_pipe_is_printed_before_the_last_is_said() -> None:
    from tests.cli.command import clip

    raw = (np.clip(clip(), -1, 1) * 32_767).astype("<i2").tobytes()
    process = start("transcribe", "-", stdin=subprocess.PIPE)
    process.stdin.buffer.write(raw[: len(raw) // 2])
    process.stdin.buffer.flush()
    assert_heard(process.stdout.readline(), SAID[0])
    _, errors = process.communicate("")
    assert process.returncode == 0 and errors == ""


def test_a_wrong_file_is_told_and_does_not_stop_the_others(
    talks: list[Path], tmp_path: Path
) -> None:
    empty = tmp_path / "empty.wav"
    empty.touch()
    (tmp_path / "text.mp3").write_text("no sound")
    result = run(
        "transcribe", tmp_path / "none.wav", talks[0], empty, tmp_path / "text.mp3", tmp_path
    )
    assert result.returncode == 1
    assert_heard(result.stdout, SAID[0])
    errors = result.stderr.splitlines()
    assert len(errors) == 4 and all(line.startswith("asr: ") for line in errors)
    reasons = ["No such file", "is empty", "no audio that FFmpeg knows", "directory"]
    for line, reason in zip(errors, reasons, strict=True):
        assert reason in line


def test_a_wrong_file_does_not_stop_other_processes(talks: list[Path], tmp_path: Path) -> None:
    result = run("transcribe", tmp_path / "none.wav", talks[0], "--jobs", "2")
    assert result.returncode == 1 and "none.wav: No such file" in result.stderr
    assert_heard(result.stdout, SAID[0])


def test_a_truncated_file_gives_what_it_has(tmp_path: Path) -> None:
    content = CLIP.read_bytes()
    (tmp_path / "cut.flac").write_bytes(content[: len(content) // 2])
    result = run("transcribe", tmp_path / "cut.flac")
    assert result.returncode == 0 and "cut.flac is damaged" in result.stderr
    assert_heard(result.stdout.splitlines()[0], SAID[0])


def test_samples_that_are_not_finite_are_silence(tmp_path: Path) -> None:
    samples = sentence(0).copy()
    samples[:1600] = np.nan
    samples[1600:2400] = np.inf
    path = record(tmp_path / "nan.wav", samples, codec="pcm_f32le")
    result = run("transcribe", path)
    assert result.returncode == 0
    assert_heard(result.stdout, SAID[0])


def test_silence_gives_nothing(tmp_path: Path) -> None:
    result = run("transcribe", record(tmp_path / "quiet.wav", np.zeros(32_000, np.float32)))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_no_samples_on_standard_input_are_told() -> None:
    result = run("transcribe", "-")
    assert result.returncode == 1 and result.stderr.startswith("asr: there are no samples")


@pytest.mark.parametrize(
    "arguments",
    [
        ["-f", "docx", CLIP],
        ["-f", "all", CLIP],
        ["--rate", "8000", CLIP],
        ["--jobs", "0", CLIP],
        ["--loud", CLIP],
        [],
        ["-", "-"],
        ["-o", "out", CLIP, CLIP],
    ],
    ids=lambda arguments: " ".join(map(str, arguments[:2])),
)
def test_a_wrong_command_line_is_one_line_and_status_2(arguments, tmp_path: Path) -> None:
    result = run("transcribe", *arguments, cwd=tmp_path)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("asr: ") and result.stderr.count("\n") == 1


@pytest.mark.parametrize("rate", ["0", "-8000", "1000000000"])
def test_a_wrong_rate_is_told(rate: str) -> None:
    result = run("transcribe", "-", "--rate", rate, input=bytes(3200))
    assert result.returncode == 2 and b"'--rate'" in result.stderr


def test_a_missing_model_is_told(tmp_path: Path) -> None:
    result = run("transcribe", CLIP, env={**os.environ, "RILL_MODEL": str(tmp_path / "none")})
    assert result.returncode == 1 and str(tmp_path / "none") in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_unknown_device_is_told() -> None:
    result = run("transcribe", CLIP, "--device", "abacus")
    assert result.returncode in (1, 2)
    assert "abacus" in result.stderr and result.stderr.count("\n") == 1


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = run("transcribe", CLIP, "--model", tmp_path / "none", "--debug")
    assert result.returncode == 1 and "Traceback" in result.stderr


def test_a_full_disk_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        result = run("transcribe", CLIP, stdout=full)
    assert result.returncode == 1
    assert result.stderr == "asr: cannot write standard output: No space left on device\n"


def test_a_full_disk_leaves_no_half_written_file(talks: list[Path], tmp_path: Path) -> None:
    (tmp_path / "sun.txt").symlink_to("/dev/full")
    result = run("transcribe", talks[0], "-o", tmp_path)
    assert result.returncode == 1
    assert result.stderr == f"asr: cannot write {tmp_path}/sun.txt: No space left on device\n"
    assert not (tmp_path / "sun.txt").exists()


def test_a_folder_that_cannot_be_made_is_told(talks: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("transcribe", talks[0], "-o", tmp_path / "file")
    assert result.returncode == 1 and result.stderr.startswith("asr: cannot write")


def test_a_reader_that_leaves_is_no_error() -> None:
    process = start("transcribe", CLIP)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 1


def test_ctrl_c_ends_it_without_a_traceback() -> None:
    process = start("transcribe", "-", stdin=subprocess.PIPE)
    process.stdin.buffer.write(bytes(32_000 * 10))
    process.stdin.buffer.flush()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert "Traceback" not in process.stderr.read()


def test_ctrl_c_ends_all_processes(tmp_path: Path) -> None:
    hour = record(tmp_path / "hour.flac", np.tile(sentence(0), 800))
    process = start("transcribe", hour, hour, "--jobs", "2")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(5)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output) == (130, "") and "Traceback" not in errors


def test_a_terminal_shows_progress_and_a_pipe_does_not(talks: list[Path]) -> None:
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    result = run("transcribe", *talks, stderr=follower, env=environment)
    os.close(follower)
    shown = os.read(leader, 100_000).decode()
    os.close(leader)
    assert "%" in shown and "━" in shown
    assert_heard(result.stdout, " ".join(SAID[:2]))
    assert "\x1b" not in result.stdout
    assert run("transcribe", *talks).stderr == ""
