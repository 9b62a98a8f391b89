"""How fast the model that ships trains: Rill's GRU beside torch's, in one run.

LD_PRELOAD=libjemalloc.so.2 MALLOC_CONF=dirty_decay_ms:-1,muzzy_decay_ms:-1 \
    python scripts/training_speed.py
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import asr.training
from asr.nn.cells import CELLS
from asr.nn.model import CtcModel
from asr.training.config import TrainConfig
from asr.training.parallel import Processes

RECIPE = Path(asr.training.__file__).parent / "recipes" / "en-small.yaml"
SECONDS = 4.0
"""Length of each utterance in the batch."""
ROUNDS = 5


def main() -> None:
    """Print audio seconds per second of a whole update, median of the rounds."""
    config = TrainConfig.load(RECIPE)
    models = {}
    for name, cell in (("Rill's GRU", CELLS["gru"]), ("torch.nn.GRU", nn.GRU)):
        CELLS["gru"] = cell
        models[name] = CtcModel(config.encoder).train()
        update(models[name], config)
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, model in models.items():
            times[name].append(update(model, config))
    millions = sum(p.numel() for p in models["Rill's GRU"].parameters()) / 1e6
    print(f"{millions:.1f} million parameters, {torch.get_num_threads()} threads")
    for name, seconds in times.items():
        print(f"{name}: {config.batch_seconds / statistics.median(seconds):.0f} times real time")


def update(model: CtcModel, config: TrainConfig) -> float:
    """Seconds for forward, loss and backward on one batch."""
    streams, frames = round(config.batch_seconds / SECONDS), round(SECONDS * 100)
    features = torch.randn(streams, frames, 80)
    phones = torch.randint(1, 40, (streams, round(SECONDS * 10)))
    began = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=Processes().bfloat16):
        outputs, _ = model.encoder.step(features, model.encoder.start(streams))
    log_probs = outputs["phones"].float().transpose(0, 1)
    frames_out = torch.full((streams,), len(log_probs))
    counts = torch.full((streams,), phones.shape[1])
    F.ctc_loss(log_probs, phones, frames_out, counts).backward()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
