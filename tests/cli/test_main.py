"""The command line as a whole."""

import subprocess
import sys

import pytest

import asr
from asr.decoding.passing import COMPILED
from tests.cli.command import run

COMMANDS = ["transcribe", "mic", "demo", "prepare", "train", "export", "graph", "eval"]


def test_help_lists_the_commands() -> None:
    result = run("--help")
    assert result.returncode == 0
    for command in COMMANDS:
        assert f" {command} " in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = run(command, "--help")
    assert result.returncode == 0 and f"asr {command}" in result.stdout


def test_version() -> None:
    result = run("--version")
    search = "C" if COMPILED else "numpy"
    assert result.stdout == f"rill-asr {asr.__version__}, search in {search}\n"


@pytest.mark.parametrize("arguments", [[], ["transcibe"], ["--colour"]], ids=str)
def test_a_wrong_command_is_one_line_and_status_2(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("asr: ") and result.stderr.count("\n") == 1


def test_the_command_line_loads_nothing_heavy() -> None:
    code = (
        "import sys, asr.cli; "
        "print([name for name in ('torch', 'av', 'soxr', 'kaldifst', 'sounddevice')"
        " if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout == b"[]\n"
