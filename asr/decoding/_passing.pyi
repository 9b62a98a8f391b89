from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Five = tuple[Array, Array, Array, Array, Array]

def pass_tokens(
    graph: Five,
    costs: Array,
    alive: Five,
    steps: int,
    frame: int,
    beam: float,
    most: int,
    ways: bool,
    /,
) -> tuple[Any, ...]: ...
def compacted(
    before: Array, arc: Array, frame: Array, steps: Array, /
) -> tuple[bytes, bytes, bytes, bytes]: ...
def shared(before: Array, steps: Array, /) -> int: ...
