"""From a feature store to padded, joined and masked batches, the same ones for the same seed."""

from __future__ import annotations

import contextlib
import queue
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from lhotse import CutSet, MonoCut
from lhotse.dataset.sampling import DynamicBucketingSampler
from torch import Tensor

from asr.nn.encoder import SUBSAMPLING
from asr.nn.frontend import FLOOR, HOP, MELS, RATE
from asr.nn.model import END
from asr.training.augment import Floats, augment
from asr.training.config import TrainConfig
from asr.training.features import FeatureStore

T = TypeVar("T")
Ints = npt.NDArray[np.int64]

AT_ONCE = 32
"""Utterances in a batch that nothing is learnt from."""


@dataclass(frozen=True)
class Batch:
    """Utterances of similar length.

    Attributes:
        features: [N, F, MELS] float32, not normalised, silence behind each utterance.
        frames: [N] output frames that belong to the utterance, END included.
        tokens: [sum of counts] targets, one utterance after the other.
        counts: [N] targets of each.
        seconds: of audio in the batch, without padding.
        share: of the batch's targets that these are, when several processes share it.
    """

    features: Tensor
    frames: Tensor
    tokens: Tensor
    counts: Tensor
    seconds: float
    share: float = 1.0


def collate(store: FeatureStore, groups: list[list[int]], lookahead: int) -> Batch:
    """Copy utterances into one padded batch, those of a group end to end as one.

    Args:
        store: where they lie.
        groups: indices of utterances.
        lookahead: output frames that the encoder delays; the batch is padded by as many.
    """
    joined = [
        np.concatenate([store.features[slice(*store.offsets[i : i + 2, 0])] for i in group])
        for group in groups
    ]
    lengths = np.array([len(features) for features in joined])
    padding = (END - 1 + lookahead) * SUBSAMPLING  # one frame of END is in the store already
    features = np.full((len(groups), lengths.max() + padding, MELS), FLOOR, np.float32)
    for row, utterance in zip(features, joined, strict=True):
        row[: len(utterance)] = utterance
    tokens = [[store.tokens[slice(*store.offsets[i : i + 2, 1])] for i in g] for g in groups]
    counts = [sum(map(len, group)) for group in tokens]
    return Batch(
        features=torch.from_numpy(features),
        frames=torch.from_numpy(lengths // SUBSAMPLING + END - 1),
        tokens=torch.from_numpy(np.concatenate([t for group in tokens for t in group])).long(),
        counts=torch.tensor(counts),
        seconds=float(lengths.sum()) * HOP / RATE,
    )


def epoch_batches(
    store: FeatureStore,
    config: TrainConfig,
    epoch: int,
    noise: Floats | None = None,
    skip: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """The augmented batches of one epoch, from the one after the first `skip` on.

    The order, the joining and the augmentation depend on the seed, the epoch, the number of the
    batch and the rank alone, so that a resumed run sees what the interrupted one would have seen.
    Of `world` processes, number `rank` gets its share of each batch; a batch with fewer utterances
    than processes is left out.
    """
    drawn = _drawn(store, config, epoch)
    sampler = _sampler(store.frames[drawn], config, epoch)
    for number, cuts in enumerate(sampler):
        if number < skip:
            continue
        rng = np.random.default_rng([config.seed, epoch, number])
        indices = rng.permutation([drawn[int(cut.id)] for cut in cuts])
        length = float(store.frames[indices].mean()) * HOP / RATE
        several = max(1, round(config.joined_seconds / length))
        groups = [list(indices[i : i + several]) for i in range(0, len(indices), several)]
        if len(groups) < world:
            continue
        batch = collate(store, groups[rank::world], config.encoder.lookahead)
        targets = int((store.offsets[indices + 1, 1] - store.offsets[indices, 1]).sum())
        chance = np.random.default_rng([config.seed, epoch, number, rank])
        lengths = batch.frames * SUBSAMPLING
        augment(batch.features, lengths, config.augmentation, noise, chance)
        yield replace(batch, share=int(batch.counts.sum()) / targets)


def whole_batches(
    store: FeatureStore, lookahead: int, among: Ints | None = None
) -> Iterator[Batch]:
    """All utterances, or those `among` them: AT_ONCE at once, short ones first."""
    numbers = np.arange(len(store.ids)) if among is None else among
    order = numbers[np.argsort(store.frames[numbers], kind="stable")]
    for begin in range(0, len(order), AT_ONCE):
        groups = [[i] for i in order[begin : begin + AT_ONCE].tolist()]
        yield collate(store, groups, lookahead)


def batches_per_epoch(store: FeatureStore, config: TrainConfig) -> int:
    """How many batches the first epoch has; others differ by a few."""
    frames = store.frames[_drawn(store, config, 0)]
    return sum(1 for _ in _sampler(frames, config, 0))


def _drawn(store: FeatureStore, config: TrainConfig, epoch: int) -> Ints:
    """The utterances of an epoch by number, some more than once; see `TrainConfig.shares`."""
    chance = np.random.default_rng([config.seed, epoch]).random(len(store.ids))
    times = np.floor(store.times + chance).astype(np.int64)
    return np.repeat(np.arange(len(times)), times)


def _sampler(frames: Ints, config: TrainConfig, epoch: int) -> DynamicBucketingSampler:
    """Lhotse's sampler over bare cuts that stand for utterances of so many frames by place."""
    cuts = [
        MonoCut(id=str(i), start=0, duration=float(count) * HOP / RATE, channel=0)
        for i, count in enumerate(frames)
    ]
    with warnings.catch_warnings():  # it would rather read from a file; these fit in memory
        warnings.simplefilter("ignore")
        sampler = DynamicBucketingSampler(
            CutSet.from_cuts(cuts),
            max_duration=config.batch_seconds,
            num_buckets=max(2, min(30, len(cuts) // 10)),
            shuffle=True,
            drop_last=False,
            seed=config.seed,
            world_size=1,  # every process sees every batch and takes its share
            rank=0,
            num_cuts_for_bins_estimate=len(cuts),
            buffer_size=len(cuts),
        )
    sampler.set_epoch(epoch)
    return sampler


def ahead(make: Callable[[], Iterator[T]], depth: int = 4) -> Iterator[T]:
    """Run an iterator in a thread of its own, `depth` items ahead."""
    items: queue.Queue[T | BaseException | None] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: T | BaseException | None) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                items.put(item, timeout=0.2)
                return

    def work() -> None:
        try:
            for item in make():
                put(item)
                if stop.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        while (item := items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
