"""What a start leaves in memory is given back, and nothing is missed."""

import subprocess
import sys

from asr.memory import _unchanged

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
