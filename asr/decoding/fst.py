"""Weighted transducers as numpy arrays, in the layout of OpenFst's const format.

A state's arcs lie together, so a transducer is two tables and a number. What is large and regular,
such as `asr.decoding.ctc`, works on them faster than arc by arc.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from asr.errors import GraphError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Table = NDArray[np.void]

STATE = np.dtype(
    [
        ("final", "<f4"),
        ("first", "<u4"),
        ("arcs", "<u4"),
        ("iepsilons", "<u4"),
        ("oepsilons", "<u4"),
    ]
)
"""Final cost (infinite if not final), first arc, number of arcs, of those without input, output."""

ARC = np.dtype([("ilabel", "<i4"), ("olabel", "<i4"), ("weight", "<f4"), ("next", "<i4")])

HEADER = struct.Struct("<ii5si8siiQqqq")
"""Magic, name, arc type (each after its length), version, flags, properties, start, sizes."""

_MAGIC, _NAMES, _VERSION, _EXPANDED = 2125659606, (b"const", b"standard"), 2, 1


@dataclass(frozen=True)
class Fst:
    """A transducer over the tropical semiring: weights are costs, natural logarithms.

    Attributes:
        start: the start state.
        states: [S] of `STATE`.
        arcs: [A] of `ARC`, those of a state together; label 0 is epsilon.
    """

    start: int
    states: Table
    arcs: Table

    @classmethod
    def of(cls, start: int, final: NDArray[np.float32], sources: Ints,
           arcs: Table) -> Fst:  # fmt: skip
        """Makes a transducer of arcs in any order.

        Args:
            start: the start state.
            final: [S] final costs, infinite for states that are not final.
            sources: [A], the state that each arc leaves.
            arcs: [A] of `ARC`.
        """
        order = np.lexsort((arcs["ilabel"], sources))
        states = state_table(final, sources, arcs)
        return cls(start, states, arcs[order])

    @property
    def sources(self) -> Ints:
        """The state [A] that each arc leaves."""
        return np.repeat(np.arange(len(self.states)), self.states["arcs"])

    def arcs_of(self, states: Ints) -> tuple[Ints, Ints]:
        """Enumerates the arcs of some states [k]: whose each is, as a place in `states`; which."""
        rows = self.states[states]
        return ranges(rows["first"].astype(np.int64), rows["arcs"].astype(np.int64))

    def write(self, path: Path) -> None:
        """Writes OpenFst's const format."""
        with path.open("wb") as file:
            write_header(file, self.start, len(self.states), len(self.arcs))
            file.write(self.states.tobytes())
            file.write(self.arcs.tobytes())

    @classmethod
    def read(cls, path: Path) -> Fst:
        """Reads OpenFst's const format.

        Raises:
            GraphError: the file is something else, or damaged.
        """
        data = path.read_bytes()
        start, states, arcs = read_header(data, str(path))
        if len(data) != file_size(states, arcs):
            raise GraphError(f"{path} is cut short: {len(data)} of {file_size(states, arcs)} bytes")
        return cls(
            start,
            np.frombuffer(data, STATE, states, HEADER.size),
            np.frombuffer(data, ARC, arcs, file_size(states, 0)),
        )


def state_table(
    final: NDArray[np.float32], sources: NDArray[np.integer[Any]], arcs: Table
) -> Table:
    """Counts the arcs of each state."""
    table = np.zeros(len(final), STATE)
    table["final"] = final
    table["arcs"] = np.bincount(sources, minlength=len(final))
    table["first"] = np.cumsum(table["arcs"]) - table["arcs"]
    table["iepsilons"] = np.bincount(sources[arcs["ilabel"] == 0], minlength=len(final))
    table["oepsilons"] = np.bincount(sources[arcs["olabel"] == 0], minlength=len(final))
    return table


def file_size(states: int, arcs: int) -> int:
    """The length of a const file in bytes."""
    return HEADER.size + states * STATE.itemsize + arcs * ARC.itemsize


def write_header(file: BinaryIO, start: int, states: int, arcs: int) -> None:
    """Writes the header of a const file; state and arc tables follow it."""
    name, arc = _NAMES
    file.write(
        HEADER.pack(
            _MAGIC, len(name), name, len(arc), arc, _VERSION, 0, _EXPANDED, start, states, arcs
        )
    )


def read_header(data: bytes, name: str) -> tuple[int, int, int]:
    """Gives start state, number of states, number of arcs.

    Raises:
        GraphError: the data is not a const transducer with standard arcs.
    """
    if len(data) < HEADER.size:
        raise GraphError(f"{name} is not a transducer: only {len(data)} bytes")
    magic, _, kind, _, arc, version, flags, _, start, states, arcs = HEADER.unpack_from(data)
    if (magic, (kind, arc), version, flags) != (_MAGIC, _NAMES, _VERSION, 0):
        raise GraphError(f"{name} is not a transducer in OpenFst's const format")
    return start, states, arcs


def ranges(first: NDArray[Any], count: NDArray[Any]) -> tuple[Ints, Ints]:
    """Enumerates ranges of numbers, given as where each begins and how long it is.

    Returns:
        For every number in the ranges, which range it is in; and the numbers.
    """
    owner = np.repeat(np.arange(len(first)), count)
    begin = np.cumsum(count, dtype=np.int64) - count
    return owner, np.arange(len(owner)) + (first - begin)[owner]


def connected(fst: Fst) -> Fst:
    """Keeps what can be reached from the start, and numbers the states breadth first."""
    number = np.full(len(fst.states), -1)
    level = np.array([fst.start])
    levels, count = [], 0
    while len(level):
        number[level] = np.arange(count, count + len(level))
        count += len(level)
        levels.append(level)
        _, arcs = fst.arcs_of(level)
        _, first = np.unique(fst.arcs["next"][arcs], return_index=True)
        level = fst.arcs["next"][arcs][np.sort(first)].astype(np.int64)
        level = level[number[level] < 0]
    states = np.concatenate(levels)
    sources, arcs = fst.arcs_of(states)
    kept = fst.arcs[arcs]
    kept["next"] = number[kept["next"]]
    return Fst.of(0, fst.states["final"][states], sources, kept)
