"""Arrays in a file, of which only what is looked at is read."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass, field, replace
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from asr.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

BOUNDARY = 64
"""Each array begins at a multiple of so many bytes."""

UNREADABLE = (
    "the unpacked graph can no longer be read; look at the disk that has the cache, and load the "
    "graph again"
)

ONE_AT_A_TIME = Lock()


def seek_and_read(file: int, count: int, place: int) -> bytes:
    """Does what `os.pread` does for the threads of one process, where there is none: on Windows."""
    with ONE_AT_A_TIME:
        os.lseek(file, place, os.SEEK_SET)
        return os.read(file, count)


read_at: Callable[[int, int, int], bytes] = getattr(os, "pread", seek_and_read)


@dataclass(frozen=True)
class Stored:
    """A vector in a file, which is read as it is indexed, and not kept.

    Mapped into memory, a file takes more of it: of what is looked at Linux counts 16 pages a touch.

    Attributes:
        file: where it lies.
        begin: its first byte there.
        size: how many elements it has.
        dtype: their type.
        behind: elements in memory that go on where those of the file end.
    """

    file: BinaryIO
    begin: int
    size: int
    dtype: np.dtype[Any]
    behind: Array | None = field(default=None, repr=False)

    @classmethod
    def write(cls, file: BinaryIO, array: Array, room: int = 0) -> None:
        """Writes a vector, and leaves a hole that has room for so many elements more."""
        file.write(bytes(-file.tell() % BOUNDARY))
        np.lib.format.write_array(file, array)
        file.truncate(file.seek(room * array.itemsize, os.SEEK_CUR))

    @classmethod
    def read(cls, file: BinaryIO) -> Stored:
        """Finds the next vector that `write` wrote without room, or the last with room.

        Raises:
            ValueError: there is none.
        """
        file.seek(-file.tell() % BOUNDARY, os.SEEK_CUR)
        np.lib.format.read_magic(file)
        (size,), _, dtype = np.lib.format.read_array_header_1_0(file)
        begin = file.tell()
        file.seek(size * dtype.itemsize, os.SEEK_CUR)
        return cls(file, begin, size, dtype)

    def mapped(self, access: int, room: int = 0) -> Array:
        """The vector with so much of the room behind it, mapped into memory.

        Raises:
            ValueError: the file is too short.
        """
        memory = mmap.mmap(self.file.fileno(), 0, access=access)
        return np.frombuffer(memory, self.dtype, self.size + room, self.begin)

    def extended(self, more: Array) -> Stored:
        """The same with more elements behind them, which are kept in memory."""
        return replace(self, behind=more)

    def __len__(self) -> int:
        return self.size + (0 if self.behind is None else len(self.behind))

    def __getitem__(self, places: slice | NDArray[np.integer[Any]]) -> Array:
        """The elements at some places, or those of a range that are in the file.

        Negative places count from the end.
        """
        if isinstance(places, slice):
            begin, end, _ = places.indices(self.size)
            return self._read([(begin, end - begin)])
        places = np.where(places < 0, places + len(self), places)
        if self.behind is None or not (later := places >= self.size).any():
            return self._read(_runs(places.ravel())).reshape(places.shape)
        found = np.zeros(len(places), self.dtype)
        found[later] = self.behind[places[later] - self.size]
        found[~later] = self._read(_runs(places[~later]))
        return found

    def _read(self, runs: list[tuple[int, int]]) -> Array:
        """Of each run the place where it begins, and so many elements from there on."""
        file, width = self.file.fileno(), self.dtype.itemsize
        parts = (read_at(file, count * width, self.begin + place * width) for place, count in runs)
        data = b"".join(parts)
        if len(data) != sum(count for _, count in runs) * width:
            raise GraphError(UNREADABLE)
        return np.frombuffer(data, self.dtype)


def _runs(places: NDArray[np.integer[Any]]) -> list[tuple[int, int]]:
    """Where places that follow each other begin, and how many they are: they are read at once."""
    begins = (np.flatnonzero(places[1:] != places[:-1] + 1) + 1).tolist()
    bounds = pairwise([0, *begins, len(places)])
    return [(int(places[begin]), end - begin) for begin, end in bounds if end > begin]
