"""What models that are there say of every utterance, for another one to learn from."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
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
from asr.training.features import IN_ROOM, FeatureStore
from asr.training.parallel import Processes


def taught(store: FeatureStore, config: TrainConfig, processes: Processes) -> FeatureStore:
    """The same store with what the teachers say, from the cache or computed into it.

    Args:
        store: of the utterances that are trained on.
        config: names the teachers and the cache.
        processes: among which the work is shared out.

    Raises:
        TrainingError: when a teacher looks further or less far ahead than the model.
        ModelError: when one is missing, or no checkpoint.
    """
    models = [CtcModel.load(path)[0] for path in config.teachers]
    for path, model in zip(config.teachers, models, strict=True):
        lookahead = model.encoder.config.lookahead
        if lookahead != config.encoder.lookahead:
            raise TrainingError(
                f"the teacher {path} looks {lookahead} frames ahead, the model "
                f"{config.encoder.lookahead}: they cannot be compared frame by frame"
            )
    path = config.cache / f"teachers-{_key(store, config)}.npy"
    if not path.is_file():
        models = [model.to(processes.device) for model in models]
        _listen(store, models, path, processes, config.bfloat16)
    return replace(store, teacher=np.load(path, mmap_mode="r"))


def _key(store: FeatureStore, config: TrainConfig) -> str:
    digest = hashlib.sha256(json.dumps([store.ids, TOKENS, config.bfloat16]).encode())
    for teacher in config.teachers:
        digest.update(teacher.read_bytes())
    digest.update(store.offsets.tobytes())
    return digest.hexdigest()[:12]


@torch.inference_mode()
def _listen(
    store: FeatureStore,
    models: Sequence[CtcModel],
    path: Path,
    processes: Processes,
    bfloat16: bool,
) -> None:
    """Each process writes down the mean of what the models say of its share of the utterances.

    Of an utterance in a room that is what they say of it as it was recorded.
    """
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
    lookahead = models[0].encoder.config.lookahead
    in_room = {name: i for i, name in enumerate(store.ids) if name.endswith(IN_ROOM)}
    dry = np.array([i for i, name in enumerate(store.ids) if name not in in_room])
    batches = whole_batches(store, lookahead, processes.rank, processes.world, dry)
    count = math.ceil(len(dry) / AT_ONCE / processes.world)
    for numbers, batch in track(batches, "teachers", count, disable=processes.rank > 0):
        features = batch.features.to(processes.device)
        with torch.autocast(processes.device.type, torch.bfloat16, enabled=bfloat16):
            each = torch.stack([model.whole(features) for model in models])
        said = (each.logsumexp(0) - math.log(len(models))).cpu().numpy()
        for number, row in zip(numbers, said, strict=True):
            for i in {number, in_room.get(store.ids[number] + IN_ROOM, number)}:
                log_probs[places[i] : places[i + 1]] = row[: places[i + 1] - places[i]]
    log_probs.flush()
    processes.gather(None)  # all have written
    processes.first_alone(lambda: None if processes.rank else unfinished.replace(path))
