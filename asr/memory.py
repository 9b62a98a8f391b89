"""What is in memory for a start alone, given back."""

from __future__ import annotations

import ctypes
import mmap
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAPS = Path("/proc/self/smaps")


def release() -> None:
    """Give back what was needed to load something: free heap, and the code that ran once.

    Of onnxruntime's library most pages that are in memory after a start are of its parser and its
    optimiser. They stay in the system's cache of files, from where a page that is used after all
    comes back. On other systems than Linux nothing happens.
    """
    if not MAPS.is_file():
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc has it
        libc.malloc_trim(0)
    maps = MAPS.read_text(encoding="utf-8", errors="replace")
    for begin, end in _unchanged(maps):
        libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)


def _unchanged(maps: str) -> Iterator[tuple[int, int]]:
    """First address, and that after the last, of mappings that hold what is in their files."""
    for block in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", maps, flags=re.MULTILINE):
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) r-.p \S+ \S+ [1-9]\d* +/", block)
        if head and re.search(r"^Anonymous: +0 kB$", block, re.MULTILINE):
            yield int(head[1], 16), int(head[2], 16)
