"""Words as numbers of 64 bits, by which they are compared without a table of strings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

BASE = np.uint64(0x9E3779B97F4A7C15)
"""Letters are the digits of a word's hash to this base, and words those of a sentence's."""


def line_hashes(text: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Hashes the first word of each line.

    Args:
        text: UTF-8, in lines that all end.

    Returns:
        [lines].
    """
    begins = np.append(0, np.flatnonzero(text == ord("\n")) + 1)[:-1]
    hashes = np.zeros(len(begins), np.uint64)
    going = np.arange(len(begins))
    place = 0
    while len(going):
        letters = text[begins[going] + place]
        within = letters > ord(" ")
        going = going[within]
        hashes[going] = hashes[going] * BASE + letters[within]
        place += 1
    # else words that have swapped letters would add up to the same in sentences
    hashes ^= hashes >> np.uint64(32)
    hashes *= BASE
    hashes ^= hashes >> np.uint64(29)
    return hashes


def word_hashes(words: Iterable[str]) -> NDArray[np.uint64]:
    """Hashes words, [words]."""
    return line_hashes(np.frombuffer("".join(f"{word}\n" for word in words).encode(), np.uint8))
