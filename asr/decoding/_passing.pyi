from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Graph = Array | object
Two = tuple[Array, Array]
Five = tuple[Array, Array, Array, Array, Array]
Words = tuple[int, int, int, Array]

def keep(file: int, begin: int, count: int, /) -> object: ...
def pass_tokens(
    graph: Graph,
    costs: Array,
    alive: Five,
    steps: int,
    frame: int,
    beam: float,
    most: int,
    /,
) -> tuple[bytes, ...]: ...
def best_path(
    graph: Graph, words: Words, alive: Five, history: Two, known: Array, cap: float, /
) -> tuple[int, bytes, bytes] | None: ...
def best_paths(
    graph: Graph,
    costs: Array,
    alive: Five,
    words: Words,
    hashes: Array,
    history: Two,
    beam: float,
    most: int,
    cap: float,
    n: int,
    within: float,
    most_ways: int,
    /,
) -> tuple[float, bytes, bytes, bytes, bytes, bytes]: ...
def compacted(
    before: Array, arc: Array, frame: Array, steps: Array, /
) -> tuple[bytes, bytes, bytes, bytes]: ...
def shared(before: Array, steps: Array, /) -> int: ...
def distances(words: Array, ends: Array, some: int, /) -> bytes: ...
