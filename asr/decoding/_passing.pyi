from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Five = tuple[Array, Array, Array, Array, Array]

def pass_tokens(
    graph: Array,
    costs: Array,
    alive: Five,
    steps: int,
    frame: int,
    beam: float,
    most: int,
    /,
) -> tuple[bytes, ...]: ...
def best_end(graph: Array, keys: Array, blank: Array, phone: Array, cap: float, /) -> int: ...
def best_paths(
    graph: Array,
    costs: Array,
    alive: Five,
    words: tuple[int, int, int, Array],
    hashes: Array,
    history: tuple[Array, Array],
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
