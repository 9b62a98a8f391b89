"""The training loop: CTC, mixed precision, checkpoints that resume exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jiwer
import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor
from torch.nn import functional as F
from torch.utils.tensorboard.writer import SummaryWriter

from asr.decoding.lexicon import TOKENS
from asr.errors import TrainingError
from asr.export.source import Source
from asr.nn import checkpoint
from asr.nn.model import CtcModel, adapted
from asr.training.augment import noise_features
from asr.training.batches import Batch, ahead, batches_per_epoch, epoch_batches, whole_batches
from asr.training.competitors import Competitors
from asr.training.config import TrainConfig
from asr.training.features import FeatureStore, feature_store
from asr.training.optimisers import Optimisers, schedule
from asr.training.parallel import FLOATS, Processes


def training_store(config: TrainConfig) -> FeatureStore:
    """What the epochs of a run draw from."""
    store = feature_store(config.train, config.speeds, config.cache, config.rooms, config.codecs)
    return store.shared(config.train, config.shares)


class Trainer:
    """One run, in a folder of its own.

    `latest.pt` holds everything that the run needs to go on: model, average, optimisers, place in
    the data and random state. `model.pt` is the averaged model with the best dev error so far,
    `model-last.pt` the newest one.

    Attributes:
        step: updates made so far.
        epoch: passes finished so far.
        batch: batches of this epoch seen so far.
        best: lowest phone error rate on dev.
        saved: when the last checkpoint was written, on the monotonic clock.
    """

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        torch.manual_seed(config.seed)
        self.config, self.folder = config, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.processes = Processes()
        self.device = self.processes.device
        self.store, self.dev, self.noise = self.processes.first_alone(
            lambda: (
                training_store(config),
                feature_store(config.dev, (1.0,), config.cache),
                noise_features(config.noise, config.cache) if config.noise else None,
            )
        )
        self.bfloat16 = config.bfloat16 and self.processes.bfloat16
        self.competitors = Competitors(*self.store.targets, self.device) if config.crf else None
        self.model = CtcModel(config.encoder).to(self.device)
        if config.start is None:
            mean, deviation = self.store.statistics()
            self.model.mean.copy_(torch.from_numpy(mean))
            self.model.deviation.copy_(torch.from_numpy(deviation))
        else:
            self.model = adapted(Source.open(config.start).model, config.encoder).to(self.device)
        self.average = CtcModel(config.encoder).to(self.device).eval()
        self.average.load_state_dict(self.model.state_dict())
        self.optimisers = Optimisers.of(self.model, config, bfloat16=self.bfloat16)
        self.step = self.epoch = self.batch = 0
        self.best = math.inf
        self.total = config.epochs * batches_per_epoch(self.store, config)
        if self.processes.rank == 0:
            self.writer = SummaryWriter(str(folder))
        torch.manual_seed(config.seed + self.processes.rank)
        self.saved = time.monotonic()
        if (folder / "latest.pt").exists():
            self._resume()

    def run(self) -> None:
        """Train to the last epoch.

        Raises:
            TrainingError: when the loss is no longer finite.
        """
        first = self.processes.rank == 0
        if first and self.config.bfloat16 and not self.bfloat16:
            print(FLOATS)
        with _progress(shown=first) as bar:
            task = bar.add_task("", total=self.total, completed=self.step)
            while self.epoch < self.config.epochs:
                for batch in ahead(self._batches):
                    began = time.monotonic()
                    loss, norm = self._update(batch)
                    seconds = batch.seconds * self.processes.world
                    speed = seconds / (time.monotonic() - began)
                    text = f"epoch {self.epoch + 1} loss {loss:.3f} {speed:.0f}x"
                    bar.update(task, completed=self.step, description=text)
                    if first and self.step % 20 == 0:
                        self._log(loss=loss, gradient_norm=norm, times_real_time=speed)
                    if self._checkpoint_due():
                        self.save()
                self.epoch, self.batch = self.epoch + 1, 0
                if first:
                    bar.console.print(self._evaluate())
                self.save()

    def _batches(self) -> Iterator[Batch]:
        """What is left of the epoch, and of it what is for this process."""
        return epoch_batches(
            self.store,
            self.config,
            self.epoch,
            self.noise,
            skip=self.batch,
            rank=self.processes.rank,
            world=self.processes.world,
        )

    def _log(self, **values: float) -> None:
        rate = self.config.learning_rate * self._share()
        for name, value in {**values, "learning_rate": rate}.items():
            self.writer.add_scalar(f"train/{name}", value, self.step)

    def _checkpoint_due(self) -> bool:
        waited = time.monotonic() - self.saved
        return self.processes.agree(waited >= 60 * self.config.checkpoint_minutes)

    def _update(self, batch: Batch) -> tuple[float, float]:
        """One step; returns the loss in nats per phone, and the norm of its gradient."""
        self.model.train()
        loss = self.loss(batch) * batch.share
        self.model.zero_grad()
        loss.backward()
        parameters = list(self.model.parameters())
        self.processes.sum_gradients(parameters)
        if self.config.clip_value:
            torch.nn.utils.clip_grad_value_(parameters, self.config.clip_value)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.clip_norm or math.inf).item()
        value = self.processes.sum(loss.detach()).item()
        if not math.isfinite(value + norm):
            raise TrainingError(
                f"the loss is {value} and its gradient {norm} at step {self.step} (epoch "
                f"{self.epoch + 1}, batch {self.batch + 1}); lower learning_rate or clip_norm, and "
                f"start again in another folder"
            )
        self.optimisers.step(self._share())
        self.step, self.batch = self.step + 1, self.batch + 1
        self._track_average()
        return value, norm

    def loss(self, batch: Batch) -> Tensor:
        """CTC loss (Graves et al. 2006) of a batch, in nats per phone.

        With `crf` it is that of CTC-CRF instead (see `asr.training.competitors`), or something in
        between.
        """
        log_probs = self._log_probs(self.model, batch.features)
        total = F.ctc_loss(
            log_probs.transpose(0, 1),
            batch.tokens.to(self.device),
            batch.frames,
            batch.counts,
            reduction="sum",
        )
        if self.competitors is not None:
            odds = self.competitors(log_probs, batch.frames, batch.tokens, batch.counts)
            total = total + self.config.crf * odds
        return total / batch.counts.sum()

    def phones(self, log_probs: Tensor, batch: Batch) -> list[str]:
        """The phones likeliest frame by frame; beside competitors, with their trigrams.

        Args:
            log_probs: [N, T, tokens], what a model says of each frame.
            batch: the utterances.
        """
        said = log_probs
        if self.competitors is not None:
            said = self.competitors.posteriors(log_probs, batch.frames)
        return [
            _spell(torch.unique_consecutive(row[:frames].argmax(-1)))
            for row, frames in zip(said.cpu(), batch.frames, strict=True)
        ]

    def _log_probs(self, model: CtcModel, features: Tensor) -> Tensor:
        """As `CtcModel.whole` gives them, in the precision of the run."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            return model.whole(features.to(self.device), self.config.truncate_frames)

    def _share(self) -> float:
        """Of the highest rates, at this step."""
        return schedule(self.step, self.config.warmup_steps, self.total)

    @torch.no_grad()
    def _track_average(self) -> None:
        decay = min(self.config.average, self.step / (self.step + 10))
        for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)

    @torch.inference_mode()
    def _evaluate(self) -> str:
        """Greedy phone error rate of the averaged model on dev; keeps the best model.

        With the error goes the mean posterior of each token on dev, the prior for the search to
        take off.
        """
        wanted, heard = [], []
        posteriors = torch.zeros(len(TOKENS), dtype=torch.float64)
        for batch in whole_batches(self.dev, self.config.encoder.lookahead):
            log_probs = self._log_probs(self.average, batch.features)
            for row, frames in zip(log_probs.cpu(), batch.frames, strict=True):
                posteriors += row[:frames].double().exp().sum(0)
            heard += self.phones(log_probs, batch)
            wanted += spoken(batch)
        error = float(jiwer.wer(wanted, heard))
        self.writer.add_scalar("dev/phone_error_rate", error, self.step)
        metadata = {
            "training": self.config.to_dict(),
            "step": self.step,
            "dev": error,
            "priors": (posteriors / posteriors.sum()).tolist(),
        }
        self.average.save(self.folder / "model-last.pt", **metadata)
        if error < self.best:
            self.best = error
            self.average.save(self.folder / "model.pt", **metadata)
        return f"epoch {self.epoch}: {error:.2%} phone errors on dev, best {self.best:.2%}"

    def save(self) -> None:
        """Write `latest.pt`, whole or not at all."""
        random = self.processes.gather(torch.get_rng_state())
        self.optimisers.gather()
        self.saved = time.monotonic()
        if self.processes.rank > 0:
            return
        content = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": self.optimisers.state(),
            "place": [self.step, self.epoch, self.batch],
            "best": self.best,
            "random": random,
            "config": self.config.to_dict(),
        }
        checkpoint.write(self.folder / "latest.pt", content)

    def _resume(self) -> None:
        path = self.folder / "latest.pt"
        content: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        if content["config"] != self.config.to_dict():
            raise TrainingError(
                f"{path} was made with another configuration; train into another folder or "
                "delete it"
            )
        self.model.load_state_dict(content["model"])
        self.average.load_state_dict(content["average"])
        self.optimisers.load(content["optimisers"])
        self.step, self.epoch, self.batch = content["place"]
        self.best = content["best"]
        random = content["random"]
        if len(random) == self.processes.world:
            torch.set_rng_state(random[self.processes.rank].cpu())


def spoken(batch: Batch) -> list[str]:
    """The phones that each utterance of a batch should have."""
    return [_spell(tokens) for tokens in batch.tokens.split(batch.counts.tolist())]


def _spell(tokens: Tensor) -> str:
    """Phones by id as a sentence, blanks left out."""
    return " ".join(TOKENS[token] for token in tokens.tolist() if token)


def _progress(*, shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        disable=not shown,
    )
