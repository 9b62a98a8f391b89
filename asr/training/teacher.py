"""What a model that is there says of every utterance, for another one to learn from."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from asr.decoding.lexicon import TOKENS
from asr.errors import TrainingError
from asr.nn.encoder import SUBSAMPLING
from asr.nn.model import CtcModel
from asr.training.batches import AT_ONCE, whole_batches
from asr.training.config import TrainConfig
from asr.training.features import FeatureStore
from asr.training.parallel import Processes


def taught(store: FeatureStore, config: TrainConfig, processes: Processes) -> FeatureStore:
    """The same store with what the teacher says, from the cache or computed into it.

    Args:
        store: of the utterances that are trained on.
        config: names the teacher and the cache.
        processes: among which the work is shared out.

    Raises:
        TrainingError: when the teacher looks further or less far ahead than the model.
        ModelError: when it is missing, or no checkpoint.
    """
    assert config.teacher
    model, _ = CtcModel.load(config.teacher)
    lookahead = model.encoder.config.lookahead
    if lookahead != config.encoder.lookahead:
        raise TrainingError(
            f"the teacher {config.teacher} looks {lookahead} frames ahead, the model "
            f"{config.encoder.lookahead}: they cannot be compared frame by frame"
        )
    path = config.cache / f"teacher-{_key(store, config.teacher)}.npy"
    if not path.is_file():
        _listen(store, model.to(processes.device), path, processes, config.bfloat16)
    return replace(store, teacher=np.load(path, mmap_mode="r"))


def _key(store: FeatureStore, teacher: Path) -> str:
    digest = hashlib.sha256(teacher.read_bytes())
    digest.update(json.dumps([store.ids, TOKENS]).encode())
    digest.update(store.offsets.tobytes())
    return digest.hexdigest()[:12]


@torch.inference_mode()
def _listen(
    store: FeatureStore, model: CtcModel, path: Path, processes: Processes, bfloat16: bool
) -> None:
    """Each process writes down what the model says of its share of the utterances."""
    unfinished = path.with_suffix(".new")
    places = store.offsets[:, 0] // SUBSAMPLING
    log_probs = processes.first_alone(
        lambda: np.lib.format.open_memmap(
            unfinished,
            "r+" if processes.rank else "w+",
            np.float16,
            (int(places[-1]), len(TOKENS)),
        )
    )
    batches = whole_batches(store, model.encoder.config.lookahead, processes.rank, processes.world)
    count = math.ceil(len(store.ids) / AT_ONCE / processes.world)
    for numbers, batch in track(batches, "teacher", count, disable=processes.rank > 0):
        with torch.autocast(processes.device.type, torch.bfloat16, enabled=bfloat16):
            said = model.whole(batch.features.to(processes.device)).cpu().numpy()
        for i, row in zip(numbers, said, strict=True):
            log_probs[places[i] : places[i + 1]] = row[: places[i + 1] - places[i]]
    log_probs.flush()
    processes.gather(None)  # all have written
    processes.first_alone(lambda: None if processes.rank else unfinished.replace(path))
