"""The side of a measuring process that asks."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr import errors
from asr.errors import AsrError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

WORKER = Path(__file__).with_name("worker.py")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that hold libraries to one thread."""


class Process:
    """A system, loaded in a fresh process with one thread.

    Attributes:
        options: what was loaded, as `worker.py` takes it.
        start_up: seconds from its start, interpreter included, until it could take audio.
        start_up_cpu: CPU seconds of that.
    """

    def __init__(self, options: dict[str, Any], prefix: Sequence[str] = ()) -> None:
        """Start it and wait until it is ready.

        Args:
            options: a system of `worker.py` and what it is made with.
            prefix: a command that runs the process, such as a profiler.

        Raises:
            AsrError: when it cannot be loaded, of the class that it would have here.
        """
        self.options = options
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        began = time.monotonic()
        self._process = subprocess.Popen(
            [*prefix, sys.executable, str(WORKER), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env={**os.environ, **dict.fromkeys(THREADS, "1")},
        )
        try:
            ready = self._answer()
        except BaseException:
            self.close()
            raise
        self.start_up: float = ready["ready"] - began
        self.start_up_cpu: float = ready["cpu"]

    def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Have it do something: `hear`, `streams`, `batch` or `memory`.

        Raises:
            AsrError: when it fails, or has ended.
        """
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # why it ended is in its answer
            self._process.stdin.write(json.dumps({"what": what, **arguments}) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        name = self.options["system"]
        if not line:
            code = self._process.wait()
            said = (self.close().splitlines() or ["without a word"])[-1]
            raise AsrError(f"the process that measures {name} ended with status {code}: {said}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            kind = getattr(errors, answer["error"], None)
            if kind is None:
                raise AsrError(f"{name}: {answer['error']}: {answer['reason']}")
            raise kind(answer["reason"])
        return answer

    def close(self) -> str:
        """End it; all that it wrote to standard error."""
        if self._said.closed:
            return ""
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        with self._said:
            self._said.seek(0)
            return self._said.read()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._process.kill()
        self.close()
