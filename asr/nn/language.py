"""The recurrent language model in torch: words in, scores of what follows out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr.decoding.language import UNKNOWN
from asr.nn import checkpoint
from asr.nn.gru import GRU


@dataclass(frozen=True)
class LanguageConfig:
    """Shape of a language model.

    Attributes:
        size: of what stands for a word, the same where it is read and where it is scored.
        hidden: units of the GRU.
    """

    size: int = 192
    hidden: int = 512


class LanguageModel(nn.Module):
    """A GRU over words whose scores are log-probabilities without a sum over the vocabulary.

    The table of words is shared between input and output (Press and Wolf 2017). Training holds the
    logarithm of the sum that a softmax would divide by near zero (Devlin et al. 2014), so that the
    score of a word costs one row of the table and not all of it.

    Attributes:
        words: the vocabulary; a word's id is its place and two more.
    """

    def __init__(self, config: LanguageConfig, words: tuple[str, ...]) -> None:
        super().__init__()
        self.config, self.words = config, words
        size = UNKNOWN + 1 + len(words)
        self.table = nn.Embedding(size, config.size)
        self.bias = nn.Parameter(torch.zeros(size))
        self.cell = GRU(config.size, config.hidden)
        self.project = nn.Linear(config.hidden, config.size)
        nn.init.normal_(self.table.weight, std=config.size**-0.5)

    def forward(self, words: Tensor) -> Tensor:
        """Ids [N, T] of sentences from their beginning on to what the next word is scored by.

        Returns:
            [N, T, size]; its product with a row of the table, plus that word's bias, is the score.
        """
        inputs = self.table(words).transpose(0, 1)
        state = inputs.new_zeros(1, inputs.shape[1], self.config.hidden, dtype=torch.float32)
        states, _ = self.cell(inputs, state)
        expected: Tensor = self.project(states).transpose(0, 1)
        return expected

    def scores(self, words: Tensor, following: Tensor) -> Tensor:
        """Scores [N, T] of the ids `following` [N, T], each after the `words` [N, T] up to it."""
        total: Tensor = (self(words) * self.table(following)).sum(-1) + self.bias[following]
        return total

    def log_probs(self, words: Tensor) -> Tensor:
        """Log-probabilities [N, T, 2 + len(words)] of all words, by the sum over them."""
        return F.linear(self(words), self.table.weight, self.bias).log_softmax(-1)

    def save(self, path: Path, **metadata: Any) -> None:
        """Write weights, words, configuration and metadata to one file."""
        content = {"config": asdict(self.config), "words": self.words, "model": self.state_dict()}
        torch.save({**content, **metadata}, path)

    @classmethod
    def load(cls, path: Path) -> tuple[LanguageModel, dict[str, Any]]:
        """Read what `save` wrote: the model in evaluation mode, and the metadata.

        Raises:
            ModelError: when the file is missing or no checkpoint of this kind.
        """
        return checkpoint.load(
            path,
            lambda content: cls(
                LanguageConfig(**content.pop("config")), tuple(content.pop("words"))
            ),
        )
