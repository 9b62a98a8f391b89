"""The words of a search graph and how they are said."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from asr.decoding.hashes import line_hashes
from asr.decoding.lexicon import IDS, TOKENS
from asr.decoding.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from asr.decoding.lexicon import Lexicon, Pronunciation

    Ways = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Vocabulary:
    """The words of a graph and how they are said, kept as text until they are asked for.

    Attributes:
        text: UTF-8, a line `word PHONE... / PHONE...` for each word with its pronunciations.
        ends: where each line has its newline.
        base: the vocabulary that this one continues.
    """

    text: NDArray[np.uint8] | Stored = field(repr=False)
    ends: NDArray[np.uint32] | Stored = field(repr=False)
    base: Vocabulary | None = field(default=None, repr=False)
    _known: dict[int, tuple[str, Ways]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, lexicon: Lexicon) -> Vocabulary:
        """Takes over all words of a lexicon."""
        return cls.read(_lines(lexicon.items()))

    @classmethod
    def read(cls, text: NDArray[np.uint8], base: Vocabulary | None = None) -> Vocabulary:
        """Takes over text as it is described above."""
        return cls(text, np.flatnonzero(text == ord("\n")).astype(np.uint32), base)

    def extended(self, entries: Iterable[tuple[str, Sequence[Pronunciation]]]) -> Vocabulary:
        """These words and more behind them, among which there may be words a second time."""
        return self.read(_lines(entries), self)

    @cached_property
    def _offset(self) -> int:
        return len(self.base) if self.base else 0

    def __len__(self) -> int:
        return self._offset + len(self.ends)

    def __getitem__(self, label: int) -> tuple[str, Ways]:
        """The word with a label of the graph, from 1 on, and its pronunciations as token ids."""
        if self.base and label <= self._offset:
            return self.base[label]
        if label not in self._known:
            place = label - self._offset
            *before, end = self.ends[max(0, place - 2) : place].tolist()
            line = self.text[before[0] + 1 if before else 0 : end].tobytes().decode()
            word, _, phones = line.partition(" ")
            ways = (way.split() for way in phones.split(" / "))
            self._known[label] = word, tuple(tuple(map(IDS.__getitem__, way)) for way in ways)
        return self._known[label]

    def has(self, labels: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Which of some labels are words; 0 stands for nothing, and those above for tags."""
        return (labels > 0) & (labels <= len(self))

    @property
    def lines(self) -> list[str]:
        """All of them."""
        return self.text[:].tobytes().decode().splitlines()

    @cached_property
    def hashes(self) -> NDArray[np.uint64]:
        """Of each word by its label, [1 + words]; label 0 is no word's."""
        before = self.base.hashes if self.base else np.zeros(1, np.uint64)
        return np.append(before, line_hashes(self.text[:]))

    @cached_property
    def followers(self) -> NDArray[np.int64]:
        """How often each token follows each other in the words, [V, V]; 0 is before and behind."""
        tokens = [0]
        for line in self.lines:
            said = line.partition(" ")[2].partition(" / ")[0]
            tokens += [*map(IDS.__getitem__, said.split()), 0]
        pairs = np.array(tokens[:-1]) * len(TOKENS) + tokens[1:]
        return np.bincount(pairs, minlength=len(TOKENS) ** 2).reshape(len(TOKENS), -1)

    def labels(self, words: Iterable[str]) -> dict[str, int]:
        """Finds the labels of those words that it has; it looks at all its words for that."""
        wanted = set(words)
        found = self.base.labels(wanted) if self.base else {}
        for label, line in enumerate(self.lines, self._offset + 1):
            if (word := line.partition(" ")[0]) in wanted:
                found[word] = label
        return found


def _lines(entries: Iterable[tuple[str, Sequence[Pronunciation]]]) -> NDArray[np.uint8]:
    lines = (f"{word} {' / '.join(map(' '.join, ways))}\n" for word, ways in entries)
    return np.frombuffer("".join(lines).encode(), np.uint8)
