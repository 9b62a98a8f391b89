"""`asr demo`: the words of a clip at the pace of speech."""

import os
import pty
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from asr.cli.live import BARS, meter
from tests.cli.command import SAID, assert_heard, run, sentence, start
from tests.sound import record


def test_words_come_at_the_pace_of_speech(tmp_path: Path) -> None:
    samples = sentence(1)
    path = record(tmp_path / "old-man.wav", samples)
    began = time.monotonic()
    result = run("demo", path)
    assert time.monotonic() - began >= len(samples) / 16_000
    assert (result.returncode, result.stderr) == (0, "")
    assert_heard(result.stdout, SAID[1])


def test_a_narrow_terminal_shows_the_newest_words_too(tmp_path: Path) -> None:
    path = record(tmp_path / "old-man.wav", sentence(1))
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "30", "LINES": "20"}
    process = start("demo", path, stdout=follower, env=environment)
    os.close(follower)
    shown = ""
    with suppress(OSError):  # EIO is how the terminal ends
        while data := os.read(leader, 10_000):
            shown += data.decode(errors="ignore")
    os.close(leader)
    assert process.wait(60) == 0
    assert shown.count("opened") > 1 and shown.count("looked") > 1


def test_the_meter_shows_the_level() -> None:
    silence, full = np.zeros(640, np.float32), np.ones(640, np.float32)
    filled = [meter(full * level).count("▮") for level in (0, 0.001, 0.03, 1)]
    assert filled == sorted(filled) and (filled[0], filled[-1]) == (0, BARS)
    assert len(meter(silence)) == len(meter(full)) == len(meter(silence[:0])) == BARS
