"""What a training run is told: a YAML file, one value per field of `TrainConfig`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from asr.errors import TrainingError
from asr.nn.encoder import EncoderConfig
from asr.training.augment import Augmentation

PATHS = ("train", "dev", "cache", "start", "noise")


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Attributes:
        train: manifest of the training cuts, as `asr prepare` wrote it.
        dev: manifest that the model is chosen by.
        cache: folder where features are kept.
        encoder: shape of the model.
        start: checkpoint of a model, or a model folder, to go on from; None to begin anew. It may
            look further ahead; see `asr.nn.model.adapted`.
        noise: folder of clips without speech, for `augmentation.noise`.
        crf: how much of CTC-CRF's denominator the loss has: 0 for CTC, 1 for CTC-CRF, in between
            for something of both; see `asr.training.competitors`.
        speeds: speed perturbation factors, each an additional copy of the data.
        rooms: share of the utterances of which there is another copy, in a simulated room; see
            `asr.training.rooms`.
        codecs: share of those of which there is another copy, through a codec; see
            `asr.training.codecs`.
        shares: by source, how often an epoch has each utterance: 2 for twice, 0.5 for half of them,
            drawn anew in each epoch. Of sources that are not named, `others`, or once.
        epochs: passes over all copies.
        batch_seconds: audio per step.
        joined_seconds: utterances shorter than this are joined up to it, end to end, at random.
        learning_rate: the highest of AdamW.
        muon_rate: the highest of Muon, which has the matrices of cells and convolutions; 0 for
            AdamW there too.
        warmup_steps: until the highest rates are reached; they fall as a cosine from there.
        weight_decay: on matrices only, as a share of the rate.
        clip_norm: largest norm of the whole gradient; 0 for any.
        clip_value: largest absolute value of each of its elements; 0 for any.
        average: decay of the running average of the weights, which is what is saved as the model.
        truncate_frames: back-propagate through at most so many feature frames; 0 for all. The
            state goes on from one piece of an utterance to the next.
        augmentation: see `asr.training.augment`.
        bfloat16: compute in mixed precision, where the device is quick at it.
        seed: of everything that is random.
        checkpoint_minutes: between two checkpoints.
    """

    train: Path
    dev: Path
    cache: Path
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    start: Path | None = None
    noise: Path | None = None
    crf: float = 0.0
    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)
    rooms: float = 0.0
    codecs: float = 0.0
    shares: dict[str, float] = field(default_factory=dict)
    epochs: int = 10
    batch_seconds: float = 400.0
    joined_seconds: float = 4.0
    learning_rate: float = 0.002
    muon_rate: float = 0.0
    warmup_steps: int = 500
    weight_decay: float = 0.01
    clip_norm: float = 5.0
    clip_value: float = 0.0
    average: float = 0.999
    truncate_frames: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)
    bfloat16: bool = True
    seed: int = 1
    checkpoint_minutes: float = 5.0

    @classmethod
    def load(cls, path: Path) -> TrainConfig:
        """Read a configuration; relative paths count from the working directory.

        Raises:
            TrainingError: when the file is missing, is no YAML, or names an unknown field.
        """
        return cls.from_dict(read_yaml(path), str(path))

    @classmethod
    def from_dict(cls, values: Any, name: str = "configuration") -> TrainConfig:
        """Build from plain values; `name` is what errors call them."""
        values = fields_of(values, name)
        for key, kind in (("encoder", EncoderConfig), ("augmentation", Augmentation)):
            values[key] = fill(kind, values.get(key, {}), f"{name}: {key}")
        for key in PATHS:
            if values.get(key) is not None:
                values[key] = Path(values[key])
        if "speeds" in values:
            values["speeds"] = tuple(values["speeds"])
        config: TrainConfig = fill(cls, values, name)
        if config.augmentation.noise and config.noise is None:
            raise TrainingError(f"{name}: augmentation.noise needs `noise`, a folder of clips")
        if config.truncate_frames % 4 or config.truncate_frames < 0:
            raise TrainingError(f"{name}: truncate_frames must be a multiple of 4")
        return config

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` takes."""
        values = dataclasses.asdict(self)
        for key in PATHS:
            values[key] = None if values[key] is None else str(values[key])
        return values


def read_yaml(path: Path) -> Any:
    """What a YAML file holds.

    Raises:
        TrainingError: when it is missing, or is no YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"cannot read {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise TrainingError(f"{path} is not YAML: {error}") from None


def fields_of(values: Any, name: str) -> dict[str, Any]:
    """A copy of what shall be fields by name.

    Raises:
        TrainingError: when it is something else; `name` is what the error calls it.
    """
    if not isinstance(values, dict):
        raise TrainingError(f"{name}: expected `field: value` lines, got {values!r}")
    return dict(values)


def fill(kind: Any, values: dict[str, Any], name: str) -> Any:
    """A dataclass with these fields.

    Raises:
        TrainingError: when one is unknown or missing; `name` is what the error calls it.
    """
    fields = dataclasses.fields(kind)
    unknown = values.keys() - {field.name for field in fields}
    if unknown:
        raise TrainingError(f"{name}: unknown field {', '.join(sorted(unknown))}")
    missing = [
        field.name
        for field in fields
        if field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
        and field.name not in values
    ]
    if missing:
        raise TrainingError(f"{name}: {', '.join(missing)} must be given")
    return kind(**values)
