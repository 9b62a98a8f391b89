"""Training runs of the same budget: how fast each cell learns, and how well."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from asr.errors import TrainingError
from asr.nn.encoder import EncoderConfig
from asr.training.trainer import Trainer
from cells.gradients import reach
from cells.setting import Setting, fresh_model, layer_norm, parameters


def learn(
    setting: Setting, encoder: EncoderConfig, seed: int, *, norm: bool = True, rate: float = 0.003
) -> dict[str, Any]:
    """Train a model, and follow its gradient back in time before and after.

    Returns:
        configuration, loss by step, phone error rate on dev by step, reach of the gradient; and why
        it failed, if it did.
    """
    config = setting.config(encoder, seed, rate)
    result: dict[str, Any] = {
        "cell": encoder.cell,
        "hidden": encoder.hidden,
        "parameters": parameters(encoder),
        "initialisation": encoder.recurrent_init,
        "layer_norm": norm,
        "seed": seed,
        "learning_rate": rate,
    }
    with layer_norm(present=norm), tempfile.TemporaryDirectory(dir=setting.folder) as folder:
        trainer = Trainer(config, Path(folder))
        begin = fresh_model(config, trainer.store)
        result["reach_before"] = reach(begin, trainer.dev, setting.distance)
        try:
            trainer.run()
        except TrainingError as error:
            result["failed"] = str(error)
        else:
            result["reach_after"] = reach(trainer.average, trainer.dev, setting.distance)
        trainer.writer.close()
        result.update(_curves(Path(folder)))
    return result


def initialised(encoder: EncoderConfig, initialisation: str) -> EncoderConfig:
    """The same encoder with one initialisation for all weights of its cells."""
    return replace(encoder, input_init=initialisation, recurrent_init=initialisation)


def _curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    log = EventAccumulator(str(folder)).Reload()
    known = set(log.Tags()["scalars"])
    curves = {}
    for name, tag in (("loss", "train/loss"), ("errors", "dev/phone_error_rate")):
        points = log.Scalars(tag) if tag in known else []
        curves[name] = [(point.step, round(point.value, 4)) for point in points]
    return curves
