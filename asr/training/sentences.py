"""What a recurrent language model learns from: a configuration, and sentences in batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from asr.decoding.estimate import Text
from asr.decoding.language import END, UNKNOWN
from asr.errors import TrainingError
from asr.nn.language import LanguageConfig
from asr.training.config import fields_of, fill, read_yaml

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int32]

POOL = 1 << 16
"""Sentences that are sorted by length together."""
LONGEST = 60
"""Words of a sentence; the rest of a longer one is left out."""


@dataclass(frozen=True)
class LanguageTraining:
    """A training run of a language model.

    Attributes:
        graph: search graph whose words the model shall know.
        texts: files, and how large a share of the words that are learnt from comes from each.
        dev: files of sentences; the model's perplexity on each is printed.
        words: how many words are learnt from.
        batch_words: words per update.
        samples: words that the target is held against: so many of the most frequent ones, which are
            always taken, and as many others by chance.
        learning_rate: the highest; it falls as a cosine.
        muon_rate: of Muon for the matrices of the GRU; 0 leaves them to Adam as well.
        warmup_steps: until it is reached.
        sum_weight: of the square of the logarithm that the scores' sum shall have as zero.
        clip_norm: largest norm of the gradient.
        shape: of the model.
        seed: of everything that is random.
        checkpoint_minutes: between two checkpoints.
    """

    graph: Path
    texts: dict[str, float]
    dev: tuple[str, ...] = ()
    words: int = 50_000_000
    batch_words: int = 16_000
    samples: int = 1024
    learning_rate: float = 0.003
    muon_rate: float = 0.0
    warmup_steps: int = 100
    sum_weight: float = 0.1
    clip_norm: float = 1.0
    shape: LanguageConfig = field(default_factory=LanguageConfig)
    seed: int = 1
    checkpoint_minutes: float = 5.0

    @property
    def updates(self) -> int:
        """How many there are."""
        return math.ceil(self.words / self.batch_words)

    @classmethod
    def load(cls, path: Path) -> LanguageTraining:
        """Read a YAML file, one value per field.

        Raises:
            TrainingError: when the file is missing, is no YAML, or has unknown or missing fields.
        """
        values = fields_of(read_yaml(path), str(path))
        values["shape"] = fill(LanguageConfig, values.get("shape", {}), f"{path}: shape")
        values["dev"] = tuple(values.get("dev", ()))
        config: LanguageTraining = fill(cls, values, str(path))
        return replace(config, graph=Path(config.graph))


@dataclass(frozen=True)
class Sentences:
    """Sentences as ids, one behind the other.

    Attributes:
        ids: of all words.
        first: [sentences + 1], where each begins.
    """

    ids: Ints
    first: NDArray[np.int64]

    @classmethod
    def read(cls, path: str, known: dict[str, int]) -> Sentences:
        """Those of a file; words that are not known are UNKNOWN."""
        ids: list[NDArray[np.int32]] = []
        counts = []
        for sentence in Text(Path(path), 1.0).sentences():
            words = sentence.split()[:LONGEST]
            if words:
                found = [known.get(word, UNKNOWN) for word in words]
                ids.append(np.array(found, np.int32))
                counts.append(len(found))
        if not ids:
            raise TrainingError(f"{path} has no sentences")
        return cls(np.concatenate(ids), np.cumsum([0, *counts]))

    def __len__(self) -> int:
        return len(self.first) - 1

    def __getitem__(self, number: int) -> Ints:
        return self.ids[self.first[number] : self.first[number + 1]]


@dataclass(frozen=True)
class Mixture:
    """Texts of which each is a share of what is learnt from.

    Attributes:
        config: of the run.
        texts: in the order of `config.texts`.
        shares: [texts], of the words.
    """

    config: LanguageTraining
    texts: list[Sentences]
    shares: NDArray[np.float64]

    @classmethod
    def read(cls, config: LanguageTraining, known: dict[str, int]) -> Mixture:
        """The texts of a configuration, with the ids of known words."""
        shares = np.array(list(config.texts.values()))
        texts = [Sentences.read(path, known) for path in config.texts]
        return cls(config, texts, shares / shares.sum())

    def frequency(self, size: int) -> Tensor:
        """The relative frequency of each id in what is learnt from, [size]."""
        total = np.zeros(size)
        for share, text in zip(self.shares, self.texts, strict=True):
            times = np.bincount(text.ids, minlength=size) + 0.5
            times[END] = len(text)
            total += share * times / times.sum()
        return torch.from_numpy(total).float()

    def batches(self, skip: int = 0, rank: int = 0, world: int = 1) -> Iterator[Tensor]:
        """All batches from the one after the first `skip` on, each [N, T + 1] from END to END.

        They depend on the seed and their number alone; of `world` processes, number `rank` gets its
        part of each. What is behind the end of a sentence is -1.
        """
        number = pool = 0
        while True:
            chosen = self._pool(pool)
            pool += 1
            chosen.sort(key=len)
            lengths = np.cumsum([1 + len(sentence) for sentence in chosen])
            batches = np.split(
                np.arange(len(chosen)),
                np.searchsorted(
                    lengths,
                    np.arange(self.config.batch_words, lengths[-1], self.config.batch_words),
                ),
            )
            rng = np.random.default_rng([self.config.seed, pool])
            for batch in rng.permutation(len(batches)):
                if number >= self.config.updates:
                    return
                number += 1
                part = [chosen[index] for index in batches[batch][rank::world]]
                if number > skip:
                    yield padded(part)

    def _pool(self, number: int) -> list[Ints]:
        """Sentences number POOL * `number` and those after it, of each text a share."""
        mean = np.array([1 + len(text.ids) / len(text) for text in self.texts])
        counts = self.shares / mean / (self.shares / mean).sum() * POOL
        chosen = []
        for kind, (text, count) in enumerate(
            zip(self.texts, counts.round().astype(int), strict=True)
        ):
            begin = number * count
            for turn in range(begin // len(text), (begin + count - 1) // len(text) + 1):
                order = np.random.default_rng([self.config.seed, kind, turn]).permutation(len(text))
                offset = turn * len(text)
                which = order[max(0, begin - offset) : max(0, begin + count - offset)]
                chosen += [text[index] for index in which.tolist()]
        return chosen


def padded(sentences: list[Ints]) -> Tensor:
    """Sentences as ids [N, T + 1], each between two END, and -1 behind it."""
    rows = torch.full((len(sentences), 2 + max(map(len, sentences))), -1)
    for row, sentence in zip(rows, sentences, strict=True):
        row[0] = END
        row[1 : 1 + len(sentence)] = torch.from_numpy(sentence)
        row[1 + len(sentence)] = END
    return rows
