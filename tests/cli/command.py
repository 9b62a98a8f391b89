"""The command `asr`, run as a process."""

import difflib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from asr.audio import read
from asr.cli.demo import CLIP

ASR = Path(sys.executable).with_name("asr")
SAID = [
    "the sun was shining and the children were playing in the garden",
    "the old man opened the door and looked out into the night",
    "i would like a cup of tea and a piece of bread",
    "thank you very much for listening",
]
"""What the clip of the demo says."""


def run(*arguments: str | Path, **options) -> subprocess.CompletedProcess[str]:
    """Run `asr` to its end; standard error is captured, and standard output if not redirected."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 100, **options}
    if "input" not in options:
        options.setdefault("stdin", subprocess.DEVNULL)
    if not isinstance(options.get("input"), bytes):
        options["text"] = True
    return subprocess.run([ASR, *map(str, arguments)], check=False, **options)


def start(*arguments: str | Path, **options) -> subprocess.Popen[str]:
    """Start `asr` as a terminal would: it hears Ctrl-C; its output goes to pipes, if not said."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen(
        [ASR, *map(str, arguments)],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, **options.pop("env", {})},
        **options,
    )


def clip() -> np.ndarray:
    """The clip of the demo, at 16 kHz."""
    return np.concatenate(list(read(CLIP, 16_000)))


def sentence(number: int) -> np.ndarray:
    """One of its sentences, from 0, with the pause behind it cut away."""
    begin, end = [(0.0, 4.6), (5.6, 9.7), (11.0, 14.5), (15.8, 18.3)][number]
    return clip()[round(begin * 16_000) : round(end * 16_000)]


def assert_heard(text: str, said: str, share: float = 0.8) -> None:
    """The words of `text` are those of `said`, but for some."""
    ratio = difflib.SequenceMatcher(None, text.split(), said.split()).ratio()
    assert ratio >= share, f"expected {said!r}, heard {text!r}"
