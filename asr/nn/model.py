"""The whole acoustic model in torch: samples in, log-probabilities out."""

from __future__ import annotations

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


def adapted(model: CtcModel, config: EncoderConfig) -> CtcModel:
    """A model of another shape that begins by doing what `model` does.

    It may be wider by a whole factor: each unit is there several times, and what reads them shares
    the weight out among its copies, unequally, so that they part in training (Net2Net, Chen et al.
    2016). It may look less far ahead, by a frame at the least: what the look-ahead convolution gave
    to later frames is lost.

    Args:
        model: what is there.
        config: the new shape.

    Raises:
        TrainingError: when the shapes differ in another way.
    """
    old = model.encoder.config
    copies, rest = divmod(config.hidden, old.hidden)
    if (
        rest
        or not min(old.lookahead, 1) <= config.lookahead <= old.lookahead
        or replace(old, hidden=0, lookahead=0, dropout=0)
        != replace(config, hidden=0, lookahead=0, dropout=0)
    ):
        raise TrainingError(f"a model of {old} cannot become one of {config}")
    wide = CtcModel(config)
    shapes = {name: parameter.shape for name, parameter in wide.state_dict().items()}
    wide.load_state_dict(
        {
            name: _copied(tensor, shapes[name], old.hidden, copies)
            for name, tensor in model.state_dict().items()
        }
    )
    return wide


def _copied(tensor: Tensor, shape: torch.Size, hidden: int, copies: int) -> Tensor:
    """A parameter with its units several times, and without the look-ahead that is not wanted."""
    if tensor.ndim == 3:
        tensor = tensor[:, :, : shape[2]]
    if tensor.ndim and tensor.shape[0] != shape[0]:  # the gates of a cell lie one after the other
        tensor = torch.cat([gate for gate in tensor.split(hidden) for _ in range(copies)])
    if tensor.ndim == 2 and tensor.shape[1] != shape[1]:
        shares = torch.rand(copies, *tensor.shape) + 0.5
        tensor = torch.cat([*(shares / shares.sum(0) * tensor)], dim=1)
    return tensor
