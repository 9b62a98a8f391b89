"""Unpacked graphs in the user's cache, where a search reads them."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING

from asr.bundle import describe
from asr.decoding.columns import Columns
from asr.decoding.packed import ROOM, packed
from asr.decoding.stored import Stored
from asr.decoding.vocabulary import Vocabulary
from asr.errors import GraphError

if TYPE_CHECKING:
    from asr.decoding.columns import Progress

FORMAT = 3
"""Version of the files in the cache."""


def cache_folder() -> Path:
    """Where unpacked graphs are kept: rill/ in XDG_CACHE_HOME, or in .cache of the home folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rill"


def unpacked(path: Path, progress: Progress | None = None) -> tuple[Stored, ...]:
    """Finds a graph in the cache; the first time it is unpacked into it.

    Several processes may do so at once: each writes a file of its own and renames it.

    Args:
        path: a file that `PhoneGraph.save` wrote.
        progress: is told the share that is done, in [0, 1], while the graph is unpacked.

    Returns:
        the text of its vocabulary and where its lines end, the labels of its arcs, and the arcs,
        behind which there is room. The file has a hole there, which takes no space on most disks.

    Raises:
        GraphError: the file is damaged, or the cache cannot be written.
    """
    cached = cache_folder() / f"{_digest(path)}-{FORMAT}"
    try:
        return _opened(cached)
    except (OSError, ValueError):  # not there, or cut short
        _unpack(path, cached, progress)
    return _opened(cached)


def _unpack(path: Path, target: Path, progress: Progress | None) -> None:
    from tempfile import TemporaryDirectory  # seldom needed, and large

    columns = Columns.read(path, progress)
    vocabulary = Vocabulary.read(columns.text)
    arcs, word = packed(columns, columns.backed_off())
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent) as folder:
            made = Path(folder) / target.name
            with made.open("wb") as file:
                for array in (vocabulary.text, vocabulary.ends, word):
                    Stored.write(file, array[:])
                Stored.write(file, arcs, ROOM)
            made.replace(target)
    except OSError as error:
        raise GraphError(
            f"cannot unpack the graph {path} into {target.parent}: {error.strerror}; make room "
            "there, or name another folder in the environment variable XDG_CACHE_HOME"
        ) from error


def _opened(cached: Path) -> tuple[Stored, ...]:
    file = cached.open("rb")
    try:
        text, ends, word, arcs = (Stored.read(file) for _ in range(4))
        arcs.mapped(mmap.ACCESS_READ, ROOM)  # if it can be
    except ValueError:
        file.close()
        raise
    return text, ends, word, arcs


def _digest(path: Path) -> str:
    try:
        return describe(path)[1]
    except OSError as error:
        raise GraphError(f"cannot read the graph {path}: {error.strerror}") from error
