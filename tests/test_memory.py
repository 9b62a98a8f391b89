"""What a start leaves in memory is given back, and nothing is missed."""

import os
import subprocess
import sys

import numpy as np

from asr.audio import read
from asr.cli.demo import CLIP
from asr.decoding import passing
from asr.memory import _unchanged
from tests.speech import ROOT

SMAPS = """\
55e0-55f0 r--p 00000000 fd:01 1234 /usr/bin/python3
Rss:  64 kB
Anonymous:             0 kB
7f00-7f10 r-xp 00001000 fd:01 99   /opt/a folder/lib.so
Anonymous:             0 kB
7f10-7f20 r-xp 00001000 fd:01 99   /opt/patched.so
Anonymous:             4 kB
7f20-7f30 rw-p 00001000 fd:01 99   /opt/lib.so
Anonymous:             0 kB
7f30-7f40 r--s 00001000 fd:01 99   /opt/shared
Anonymous:             0 kB
7f40-7f50 r-xp 00000000 00:00 0    [vdso]
Anonymous:             0 kB
"""


def test_only_what_its_file_holds_is_given_back():
    assert list(_unchanged(SMAPS)) == [(0x55E0, 0x55F0), (0x7F00, 0x7F10)]


def test_a_process_goes_on_smaller():
    """With numpy and onnxruntime; their libraries compute the same afterwards."""
    code = """
import sys
import numpy, onnxruntime
from asr.memory import release

def resident():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

matrix = numpy.random.default_rng(0).standard_normal((64, 64))
want, before = numpy.linalg.inv(matrix), resident()
release()
freed = before - resident()
assert (numpy.linalg.inv(matrix) == want).all() and onnxruntime.get_available_providers()
print(freed)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 5, "a plain start has some 20 MB of this"


def test_a_process_that_dictates_stays_small(tmp_path):
    """With the graph of en-small, start included; some 59 MB, and 75 if the graph were mapped."""
    clip = tmp_path / "clip.npy"
    np.save(clip, np.concatenate(list(read(CLIP))))
    code = f"""
from pathlib import Path
import numpy
import asr

recognizer = asr.load({str(ROOT / "models" / "en-small")!r})
stream = recognizer.stream()
samples = numpy.load({str(clip)!r})
events = []
for begin in range(0, len(samples), 2560):
    events += stream.push(samples[begin : begin + 2560], 16_000)
print(*(event.segment.text for event in [*events, *stream.flush()] if isinstance(event, asr.Final)))
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)
print(recognizer.graph_identity in Path("/proc/self/maps").read_text())
"""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | one,
    )
    text, peak, mapped = done.stdout.splitlines()
    assert text
    assert float(peak) < 66
    assert (mapped == "False") == passing.COMPILED


def test_a_graph_is_unpacked_in_little_memory(tmp_path):
    """That of the models that ship; 193 MB, of which Python and numpy have 50."""
    code = f"""
from pathlib import Path
from asr.decoding.graph import Graph

Graph.load(Path({str(ROOT / "models" / "en-small" / "dictation.graph")!r}))
print(int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 220
