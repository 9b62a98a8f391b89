"""Training of the recurrent language model: mixed texts, a sampled softmax, one pass."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from asr.decoding.estimate import Text
from asr.decoding.language import END, UNKNOWN
from asr.errors import TrainingError
from asr.nn import checkpoint
from asr.nn.language import LanguageConfig, LanguageModel
from asr.training.config import read_yaml
from asr.training.parallel import Processes

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
    warmup_steps: int = 100
    sum_weight: float = 0.1
    clip_norm: float = 1.0
    shape: LanguageConfig = field(default_factory=LanguageConfig)
    seed: int = 1
    checkpoint_minutes: float = 5.0

    @classmethod
    def load(cls, path: Path) -> LanguageTraining:
        """Read a YAML file, one value per field.

        Raises:
            TrainingError: when the file is missing, is no YAML, or has unknown or missing fields.
        """
        try:
            values = read_yaml(path)
            values["graph"] = Path(values["graph"])
            values["shape"] = LanguageConfig(**values.get("shape", {}))
            values["dev"] = tuple(values.get("dev", ()))
            return cls(**values)
        except (TypeError, KeyError) as error:
            raise TrainingError(
                f"{path} is no configuration of a language model: {error}"
            ) from None


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
    def read(cls, text: Text, known: dict[str, int]) -> Sentences:
        """Those of a text; words that are not known are UNKNOWN."""
        ids: list[NDArray[np.int32]] = []
        counts = []
        for sentence in text.sentences():
            words = sentence.split()[:LONGEST]
            if words:
                found = [known.get(word, UNKNOWN) for word in words]
                ids.append(np.array(found, np.int32))
                counts.append(len(found))
        if not ids:
            raise TrainingError(f"{text.path} has no sentences")
        return cls(np.concatenate(ids), np.cumsum([0, *counts]))

    def __len__(self) -> int:
        return len(self.first) - 1

    def __getitem__(self, number: int) -> Ints:
        return self.ids[self.first[number] : self.first[number + 1]]


class LanguageTrainer:
    """One run, in a folder of its own: `latest.pt` to go on from, `model.pt` when it is done."""

    def __init__(self, config: LanguageTraining, folder: Path) -> None:
        from asr.decoding.graph import Graph

        torch.manual_seed(config.seed)
        folder.mkdir(parents=True, exist_ok=True)
        self.config, self.folder, self.processes = config, folder, Processes()
        vocabulary = Graph.load(config.graph).vocabulary
        words = dict.fromkeys(vocabulary[label][0] for label in range(1, len(vocabulary) + 1))
        known = {word: number for number, word in enumerate(words, UNKNOWN + 1)}
        shares = np.array(list(config.texts.values()))
        self.shares = shares / shares.sum()
        self.texts = [Sentences.read(Text(Path(path), 1.0), known) for path in config.texts]
        self.dev = {path: Sentences.read(Text(Path(path), 1.0), known) for path in config.dev}
        self.frequency = self._frequency(2 + len(known))
        self.model = LanguageModel(config.shape, tuple(words))
        with torch.no_grad():
            self.model.bias.copy_(self.frequency.log())
        self.model.to(self.processes.device)
        self.optimiser = torch.optim.Adam(self.model.parameters(), betas=(0.9, 0.98))
        order = self.frequency.argsort(descending=True)
        self.frequent, self.rare = order[: config.samples], order[config.samples :]
        self.chance = self.frequency[self.rare] / self.frequency[self.rare].sum()
        self.step, self.total = 0, math.ceil(config.words / config.batch_words)
        self.saved = time.monotonic()
        if (folder / "latest.pt").exists():
            self._resume()

    def _frequency(self, size: int) -> Tensor:
        """The relative frequency of each id in what is learnt from, [size]."""
        total = np.zeros(size)
        for share, text in zip(self.shares, self.texts, strict=True):
            times = np.bincount(text.ids, minlength=size) + 0.5
            times[END] = len(text)
            total += share * times / times.sum()
        return torch.from_numpy(total).float()

    def run(self) -> None:
        """Learn from as many words as the configuration says."""
        first = self.processes.rank == 0
        began, before = time.monotonic(), self.step
        for words in self._batches():
            loss = self._update(words)
            if first and self.step % 20 == 0:
                speed = (self.step - before) * self.config.batch_words / (time.monotonic() - began)
                print(f"{self.step}/{self.total} loss {loss:.3f} {speed:.0f} words/s", flush=True)
            if first and self.step % 1000 == 0:
                print(self._evaluate(), flush=True)
            if first and time.monotonic() - self.saved > 60 * self.config.checkpoint_minutes:
                self._save()
        if first:
            self._save()
            print(self._evaluate(), flush=True)
            self.model.save(self.folder / "model.pt", training=self._facts())

    def _batches(self) -> Iterator[Tensor]:
        """This process's part of what is left of all batches, each [N, T + 1] from END to END.

        They depend on the seed and their number alone. What is behind the end of a sentence is -1.
        """
        number = pool = 0
        rank, world = self.processes.rank, self.processes.world
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
                if number >= self.total:
                    return
                number += 1
                part = [chosen[index] for index in batches[batch][rank::world]]
                if number > self.step:
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

    def _update(self, words: Tensor) -> float:
        """One step; returns the loss in nats per word."""
        rate = self._rate()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        words = words.to(self.processes.device)
        count = self.processes.sum((words[:, 1:] >= 0).sum().float())
        with torch.autocast(words.device.type, torch.bfloat16):
            nll, log_sum = self._sampled(words)
        loss = (nll + self.config.sum_weight * log_sum.square()).sum() / count
        self.optimiser.zero_grad()
        loss.backward()
        self.processes.sum_gradients(self.model.parameters())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        value = float(self.processes.sum(nll.detach().sum() / count))
        if not math.isfinite(value):
            raise TrainingError(f"the loss is {value} at step {self.step}; lower learning_rate")
        self.optimiser.step()
        self.step += 1
        return value

    def _sampled(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """Negative log-probabilities of words and the logarithms of what their scores sum up to.

        The sum takes in the frequent words and the target, and the others by a sample (Bengio and
        Senécal 2003).
        """
        there = words[:, 1:] >= 0
        expected = self.model(words[:, :-1].clamp(min=0))[there]
        target = words[:, 1:][there]
        drawn = self._drawn()
        against = torch.cat([self.frequent, self.rare[drawn]]).to(words.device)
        weight = torch.zeros(len(against), device=words.device)
        weight[len(self.frequent) :] = -(self.chance[drawn] * self.config.samples).log()
        table = self.model.table
        scores = F.linear(expected, table(against), self.model.bias[against]).float() + weight
        scores = scores.masked_fill(target[:, None] == against, -math.inf)
        right = (expected.float() * table(target)).sum(-1) + self.model.bias[target]
        log_sum = torch.logaddexp(right, scores.logsumexp(-1))
        return log_sum - right, log_sum

    def _drawn(self) -> Tensor:
        """Places of rare words, by chance, the same in the same step; none if there are none."""
        if not len(self.rare):
            return torch.zeros(0, dtype=torch.long)
        place = self.step * self.processes.world + self.processes.rank
        chance = torch.Generator().manual_seed((self.config.seed << 32) + place)
        return torch.multinomial(
            self.chance, self.config.samples, replacement=True, generator=chance
        )

    def _rate(self) -> float:
        done = min(1.0, self.step / self.total)
        rise = min(1.0, (self.step + 1) / self.config.warmup_steps)
        return self.config.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * done))

    @torch.inference_mode()
    def _evaluate(self) -> str:
        """Perplexity on each text of dev without unknown words, and the same by scores alone."""
        said = []
        for path, text in self.dev.items():
            nll = by_scores = count = 0.0
            for begin in range(0, len(text), 32):
                words = padded([text[i] for i in range(begin, min(len(text), begin + 32))])
                words = words.to(self.processes.device)
                following = words[:, 1:].clamp(min=0)
                log_probs = self.model.log_probs(words[:, :-1].clamp(min=0))
                there = (words[:, 1:] >= 0) & (following != UNKNOWN)
                nll -= float(log_probs.gather(2, following[..., None])[..., 0][there].sum())
                by_scores -= float(
                    self.model.scores(words[:, :-1].clamp(min=0), following)[there].sum()
                )
                count += int(there.sum())
            said.append(
                f"{Path(path).stem} {math.exp(nll / count):.1f} ({math.exp(by_scores / count):.1f})"
            )
        return f"perplexity (by scores): {', '.join(said)}"

    def _facts(self) -> dict[str, Any]:
        """The configuration in plain values."""
        return {**dataclasses.asdict(self.config), "graph": str(self.config.graph)}

    def _save(self) -> None:
        """Write `latest.pt`, whole or not at all."""
        content = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "config": self._facts(),
        }
        checkpoint.write(self.folder / "latest.pt", content)
        self.saved = time.monotonic()

    def _resume(self) -> None:
        path = self.folder / "latest.pt"
        content = torch.load(path, map_location=self.processes.device, weights_only=True)
        if content["config"] != self._facts():
            raise TrainingError(
                f"{path} was made with another configuration; train into another folder or "
                "delete it"
            )
        self.model.load_state_dict(content["model"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.step = content["step"]


def padded(sentences: list[Ints]) -> Tensor:
    """Sentences as ids [N, T + 1], each between two END, and -1 behind it."""
    rows = torch.full((len(sentences), 2 + max(map(len, sentences))), -1)
    for row, sentence in zip(rows, sentences, strict=True):
        row[0] = END
        row[1 : 1 + len(sentence)] = torch.from_numpy(sentence)
        row[1 + len(sentence)] = END
    return rows
