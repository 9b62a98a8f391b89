"""How many instructions a process takes: what energy goes with, and other work does not disturb.

By the processor's counter where `perf stat` may read it; otherwise by valgrind, which runs the
program some 30 times slower, on a processor without AVX-512.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.benchmark.process import Process
from asr.errors import AsrError

if TYPE_CHECKING:
    from collections.abc import Sequence

PERF = ("perf", "stat", "--event", "instructions:u", "--field-separator", ",")
VALGRIND = ("valgrind", "--tool=exp-bbv", "--instr-count-only=yes", "--bb-out-file=/dev/null")
AGAIN = 2
"""How often a clip is heard once more, for the difference."""


def method() -> str:
    """`perf` or `valgrind`, whichever counts here.

    Raises:
        AsrError: when neither does.
    """
    if shutil.which("perf"):
        tried = subprocess.run([*PERF, "true"], capture_output=True, text=True, check=False)
        if tried.returncode == 0 and _counted_by_perf(tried.stderr):
            return "perf"
    if shutil.which("valgrind"):
        return "valgrind"
    raise AsrError(
        "instructions cannot be counted here: perf may not read the processor's counter "
        "(kernel.perf_event_paranoid, or a virtual machine), and valgrind is not installed"
    )


def per_second(
    options: dict[str, Any],
    clip: str,
    seconds: float,
    chunks: Sequence[int | None],
    how: str,
) -> dict[int | None, float]:
    """Instructions for each second of a clip, by the length of the chunks.

    A process that hears it more often is compared with one that hears it less, so that start-up
    and first calls do not count.

    Args:
        options: a system of `worker.py`.
        clip: file of the samples.
        seconds: that it lasts.
        chunks: samples per chunk, None for the whole clip.
        how: `perf` or `valgrind`.
    """
    once = _count(options, clip, chunks, how)
    return {
        chunk: (_count(options, clip, [*chunks, *[chunk] * AGAIN], how) - once) / AGAIN / seconds
        for chunk in chunks
    }


def _count(options: dict[str, Any], clip: str, chunks: Sequence[int | None], how: str) -> int:
    """Instructions of a process that hears a clip once for each of `chunks`."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with Process(options, counting(how, log)) as process:
            for chunk in chunks:
                process.ask("hear", clip=clip, chunk=chunk)
        return counted(how, log)


def counting(how: str, log: Path) -> tuple[str, ...]:
    """The beginning of a command that counts what the rest of it takes, and writes that to a file.

    Args:
        how: `perf` or `valgrind`.
        log: the file.
    """
    if how == "perf":
        return (*PERF, f"--output={log}", "--")
    return (*VALGRIND, f"--log-file={log}")


def counted(how: str, log: Path) -> int:
    """The count that a command with `counting` left in a file.

    Raises:
        AsrError: when there is none.
    """
    said = log.read_text(encoding="utf-8", errors="replace")
    count = _counted_by_perf(said) if how == "perf" else _counted_by_valgrind(said)
    if not count:
        raise AsrError(f"{how} counted no instructions: {' '.join(said.split())}")
    return count


def _counted_by_perf(said: str) -> int | None:
    found = re.search(r"^(\d+),,instructions", said, re.MULTILINE)
    return int(found[1]) if found else None


def _counted_by_valgrind(said: str) -> int | None:
    """Of all threads together."""
    return sum(int(n) for n in re.findall(r"Total instructions: (\d+)", said)) or None
