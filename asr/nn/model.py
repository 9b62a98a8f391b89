"""The whole acoustic model in torch: samples in, log-probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asr.errors import TrainingError
from asr.nn import checkpoint
from asr.nn.encoder import SUBSAMPLING, Encoder, EncoderConfig, State
from asr.nn.frontend import HOP, MELS, TAIL, Frontend

FRAME = HOP * SUBSAMPLING
"""Samples per output frame: 40 ms."""
END = 3
"""Output frames of silence that follow an utterance in training and after a flush."""
HEAD = "phones"
"""The head that is trained and decoded."""


class CtcModel(nn.Module):
    """Frontend, normalisation and encoder in one.

    Attributes:
        mean: [MELS] of the training features.
        deviation: [MELS], their standard deviation.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.frontend = Frontend()
        self.encoder = Encoder(config)
        self.register_buffer("mean", torch.zeros(MELS))
        self.register_buffer("deviation", torch.ones(MELS))

    @property
    def state_shapes(self) -> dict[str, tuple[int | None, ...]]:
        """Shape of every state by name; None stands for the number of streams."""
        return {"samples": (None, TAIL), **self.encoder.state_shapes}

    def start(self, streams: int) -> State:
        """The state of streams that have not begun: zeros."""
        return {"samples": self.frontend.start(streams), **self.encoder.start(streams)}

    def normalise(self, features: Tensor) -> Tensor:
        """Features [..., MELS] with the mean and variance of the training data taken out."""
        return (features - self.mean) / self.deviation

    def step(self, audio: Tensor, state: State) -> tuple[dict[str, Tensor], State]:
        """Log-probabilities for a chunk of audio.

        Args:
            audio: [N, S] samples in [-1, 1], S a multiple of FRAME.
            state: as `start` or the step before gave it.

        Returns:
            log-probabilities [N, S / FRAME, tokens] by head, and the next state.
        """
        features, samples = self.frontend.step(audio, state["samples"])
        outputs, after = self.encoder.step(self.normalise(features), state)
        return outputs, {"samples": samples, **after}

    def whole(self, features: Tensor, truncate_frames: int = 0) -> Tensor:
        """Log-probabilities of phones for whole utterances, at the frames that they are about.

        Args:
            features: [N, F, MELS], not normalised, with silence behind that the look-ahead takes.
            truncate_frames: gradients go back through at most so many of F; 0 for all.

        Returns:
            [N, F / SUBSAMPLING - lookahead, tokens] in float32.
        """
        features = self.normalise(features)
        state = self.encoder.start(len(features))
        pieces = []
        for piece in features.split(truncate_frames or features.shape[1], dim=1):
            state = {name: tensor.detach() for name, tensor in state.items()}
            outputs, state = self.encoder.step(piece, state)
            pieces.append(outputs[HEAD].float())
        return torch.cat(pieces, dim=1)[:, self.encoder.config.lookahead :]

    def save(self, path: Path, **metadata: Any) -> None:
        """Write weights, configuration and metadata to one file."""
        content = {"config": asdict(self.encoder.config), "model": self.state_dict(), **metadata}
        torch.save(content, path)

    @classmethod
    def load(cls, path: Path) -> tuple[CtcModel, dict[str, Any]]:
        """Read what `save` wrote: the model in evaluation mode, and the metadata.

        Raises:
            ModelError: when the file is missing or no checkpoint of this kind.
        """
        return checkpoint.load(path, lambda content: cls(EncoderConfig(**content.pop("config"))))


def joined(models: Sequence[CtcModel]) -> CtcModel:
    """One model in which several stand side by side: its logits are the mean of theirs.

    Models of one recipe that differ by their seed err differently, so that the mean is more often
    right than any of them (Hansen & Salamon 1990).

    Args:
        models: of one shape, without groups.

    Raises:
        TrainingError: when their shapes differ.
    """
    first, *others = models
    config = replace(first.encoder.config, dropout=0.0)
    for other in others:
        if replace(other.encoder.config, dropout=0.0) != config or config.groups > 1:
            raise TrainingError(
                f"a model of {config} and one of {other.encoder.config} cannot be joined; they "
                "have to be of one shape, without groups"
            )
    count = len(models)
    if count == 1:
        return first
    whole = CtcModel(
        replace(
            config, hidden=count * config.hidden, channels=count * config.channels, groups=count
        )
    )
    weights: State = {}
    states = [_normalised_as(first, model) for model in models]
    for name, tensor in states[0].items():
        tensors = [state[name] for state in states]
        scope, _, rest = name.removeprefix("encoder.").partition(".")
        if scope in ("mean", "deviation"):
            weights[name] = tensor
        elif scope == "cells":
            layer, _, parameter = rest.partition(".")
            weights.update(
                {f"encoder.cells.{layer}.{k}.{parameter}": one for k, one in enumerate(tensors)}
            )
        elif scope == "heads" and tensor.ndim > 1:
            weights[name] = torch.cat(tensors, dim=1) / count
        elif scope == "heads":
            weights[name] = torch.stack(tensors).mean(0)
        else:
            weights[name] = torch.cat(tensors)
    whole.load_state_dict(weights)
    return whole.eval()


def _normalised_as(first: CtcModel, model: CtcModel) -> State:
    """The weights of a model for features whose mean and deviation are those of the first.

    Only the zeros that a stream begins with stand for something else then.
    """
    weights = model.state_dict()
    kernel = weights["encoder.conv1.weight"]
    shift = ((first.mean - model.mean) / model.deviation)[:, None]
    weights["encoder.conv1.bias"] = weights["encoder.conv1.bias"] + (kernel * shift).sum((1, 2))
    weights["encoder.conv1.weight"] = kernel * (first.deviation / model.deviation)[:, None]
    return weights


def adapted(model: CtcModel, config: EncoderConfig) -> CtcModel:
    """A model that goes on from `model`, with other dropout, or less look-ahead.

    It may look less far ahead, by a frame at the least: what the look-ahead convolution gave to
    later frames is lost.

    Args:
        model: what is there.
        config: the new shape.

    Raises:
        TrainingError: when the shapes differ in another way.
    """
    old = model.encoder.config
    if not min(old.lookahead, 1) <= config.lookahead <= old.lookahead or replace(
        old, lookahead=0, dropout=0
    ) != replace(config, lookahead=0, dropout=0):
        raise TrainingError(f"a model of {old} cannot become one of {config}")
    other, weights = CtcModel(config), model.state_dict()
    if config.lookahead:
        name = "encoder.lookahead.weight"
        weights[name] = weights[name][:, :, : config.lookahead + 1]
    other.load_state_dict(weights)
    return other
