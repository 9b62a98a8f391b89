from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Graph = Array | object
Words = tuple[int, int, int, Array]

def keep(file: int, begin: int, count: int, /) -> object: ...
def pass_tokens(
    graph: Graph,
    costs: Array,
    alive: Array,
    words: Words,
    history: Array,
    known: Array,
    steps: int,
    frame: int,
    beam: float,
    most: int,
    cap: float,
    /,
) -> tuple[bytes, bytes, tuple[int, bytes, list[tuple[int, int]]] | None]: ...
def best_paths(
    graph: Graph,
    costs: Array,
    alive: Array,
    words: Words,
    hashes: Array,
    history: Array,
    beam: float,
    most: int,
    cap: float,
    n: int,
    within: float,
    most_ways: int,
    /,
) -> tuple[float, bytes, bytes, bytes, bytes, bytes]: ...
def compacted(history: Array, alive: Array, path: Array, /) -> tuple[bytes, bytes, bytes]: ...
def shared(history: Array, alive: Array, /) -> int: ...
def distances(words: Array, ends: Array, some: int, /) -> bytes: ...
