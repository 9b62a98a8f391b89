"""Training of the recurrent language model: a sampled softmax, one pass over mixed texts."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from asr.decoding.graph import Graph
from asr.decoding.language import UNKNOWN
from asr.errors import TrainingError
from asr.nn import checkpoint
from asr.nn.language import LanguageModel
from asr.training.optimisers import Optimisers, make_muon, schedule
from asr.training.parallel import FLOATS, Processes
from asr.training.sentences import LanguageTraining, Mixture, Sentences, padded


class LanguageTrainer:
    """One run, in a folder of its own: `latest.pt` to go on from, `model.pt` when it is done."""

    def __init__(self, config: LanguageTraining, folder: Path) -> None:
        torch.manual_seed(config.seed)
        folder.mkdir(parents=True, exist_ok=True)
        self.config, self.folder, self.processes = config, folder, Processes()
        vocabulary = Graph.load(config.graph).vocabulary
        words = dict.fromkeys(vocabulary[label][0] for label in range(1, len(vocabulary) + 1))
        known = {word: number for number, word in enumerate(words, UNKNOWN + 1)}
        self.mixture = Mixture.read(config, known)
        self.dev = {path: Sentences.read(path, known) for path in config.dev}
        frequency = self.mixture.frequency(2 + len(known))
        self.model = LanguageModel(config.shape, tuple(words))
        with torch.no_grad():
            self.model.bias.copy_(frequency.log())
        self.model.to(self.processes.device)
        self.optimisers = self._optimisers()
        order = frequency.argsort(descending=True)
        self.frequent, self.rare = order[: config.samples], order[config.samples :]
        self.chance = frequency[self.rare] / frequency[self.rare].sum()
        self.step, self.total = 0, config.updates
        self.saved = time.monotonic()
        if (folder / "latest.pt").exists():
            self._resume()

    def _optimisers(self) -> Optimisers:
        """Muon for the matrices of the GRU if it has a rate, Adam for the rest."""
        config = self.config
        inside = [p for p in self.model.cell.parameters() if p.ndim == 2 and config.muon_rate]
        known = set(map(id, inside))
        rest = [p for p in self.model.parameters() if id(p) not in known]
        adam = torch.optim.Adam(rest, lr=config.learning_rate, betas=(0.9, 0.98))
        if not inside:
            return Optimisers([adam])
        muon = make_muon(
            inside,
            config.shape.hidden,
            config.muon_rate,
            decay=0.0,
            bfloat16=self.processes.bfloat16,
        )
        return Optimisers([adam, muon])

    def run(self) -> None:
        """Learn from as many words as the configuration says."""
        first = self.processes.rank == 0
        if first and not self.processes.bfloat16:
            print(FLOATS)
        began, before = time.monotonic(), self.step
        for words in self.mixture.batches(self.step, self.processes.rank, self.processes.world):
            loss = self._update(words)
            if first and self.step % 20 == 0:
                speed = (self.step - before) * self.config.batch_words / (time.monotonic() - began)
                print(f"{self.step}/{self.total} loss {loss:.3f} {speed:.0f} words/s", flush=True)
            if first and self.step % 1000 == 0 and self.step < self.total:
                print(self._evaluate(), flush=True)
            waited = time.monotonic() - self.saved
            if self.processes.agree(waited >= 60 * self.config.checkpoint_minutes):
                self._save()
        self._save()
        if first:
            print(self._evaluate(), flush=True)
            self.model.save(self.folder / "model.pt", training=self._facts())

    def _update(self, words: Tensor) -> float:
        """One step; returns the loss in nats per word."""
        words = words.to(self.processes.device)
        count = self.processes.sum((words[:, 1:] >= 0).sum().float())
        with torch.autocast(words.device.type, torch.bfloat16, enabled=self.processes.bfloat16):
            nll, log_sum = self._sampled(words)
        loss = (nll + self.config.sum_weight * log_sum.square()).sum() / count
        self.model.zero_grad()
        loss.backward()
        self.processes.sum_gradients(self.model.parameters())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        value = float(self.processes.sum(nll.detach().sum() / count))
        if not math.isfinite(value):
            raise TrainingError(f"the loss is {value} at step {self.step}; lower learning_rate")
        self.optimisers.step(schedule(self.step, self.config.warmup_steps, self.total))
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
        self.optimisers.gather()
        self.saved = time.monotonic()
        if self.processes.rank > 0:
            return
        content = {
            "model": self.model.state_dict(),
            "optimisers": self.optimisers.state(),
            "step": self.step,
            "config": self._facts(),
        }
        checkpoint.write(self.folder / "latest.pt", content)

    def _resume(self) -> None:
        path = self.folder / "latest.pt"
        content = torch.load(path, map_location=self.processes.device, weights_only=True)
        if content["config"] != self._facts():
            raise TrainingError(
                f"{path} was made with another configuration; train into another folder or "
                "delete it"
            )
        self.model.load_state_dict(content["model"])
        self.optimisers.load(content["optimisers"])
        self.step = content["step"]
