"""Stream recordings through a model in chunks of 160 ms; print the words and what it took as JSON.

    python listen.py MODEL RECORDING... [--uncompiled] [--bare]

With --uncompiled all runs as if there had been no compiler, with --bare there is no search graph.
"""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from mmap import PAGESIZE
from pathlib import Path

import numpy as np

if "--uncompiled" in sys.argv:
    for compiled in ("asr.decoding._passing", "asr.operators._library"):
        sys.modules[compiled] = None  # type: ignore[assignment]

import asr
from asr.audio import read
from asr.decoding import passing
from asr.operators import KERNELS
from asr.results import Final

RATE, CHUNK = 16_000, 2560


def words(recognizer: asr.Recognizer, path: str) -> tuple[str, float]:
    """The text of a recording, and its seconds."""
    stream, events = recognizer.stream(), []
    for block in read(path, RATE):
        for begin in range(0, len(block), CHUNK):
            events += stream.push(block[begin : begin + CHUNK], RATE)
    seconds = stream.time
    events += stream.flush()
    return " ".join(event.segment.text for event in events if isinstance(event, Final)), seconds


def resident() -> int:
    """Bytes of this program that are in memory.

    Under emulation `maps` shows what the program has, without the emulator, whose pages VmRSS
    counts as well. Bit 63 of a page's entry in `pagemap` says whether it is in memory.
    """
    pages = 0
    lines = Path("/proc/self/maps").read_text().splitlines()
    with Path("/proc/self/pagemap").open("rb") as pagemap:
        for line in lines:
            begin, end = (int(side, 16) // PAGESIZE for side in line.split()[0].split("-"))
            if not line.endswith("[vsyscall]"):
                pagemap.seek(8 * begin)
                entries = np.frombuffer(pagemap.read(8 * (end - begin)), np.uint64)
                pages += int(np.count_nonzero(entries >> 63))
    return pages * PAGESIZE


def main() -> None:
    """See the module."""
    model, *recordings = (argument for argument in sys.argv[1:] if not argument.startswith("--"))
    recognizer = asr.load(model, graph=None if "--bare" in sys.argv else "dictation")
    loaded = resident()
    heard = {path: words(recognizer, path) for path in recordings}
    report = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("rill-asr", "numpy", "onnxruntime", "av", "soxr")},
        "precision": recognizer.acoustic.precision,
        "operators": next(iter(KERNELS), "onnxruntime's"),
        "search": "compiled" if passing.COMPILED else "numpy",
        "loaded_bytes": loaded,
        "resident_bytes": resident(),
        "seconds": sum(seconds for _, seconds in heard.values()),
        "seconds_of": {Path(path).name: seconds for path, (_, seconds) in heard.items()},
        "words": {Path(path).name: text for path, (text, _) in heard.items()},
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
