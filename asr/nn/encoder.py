"""The acoustic encoder: strided convolutions, a stack of recurrent layers, CTC heads.

There is one way through it, `Encoder.step`. Training gives it whole utterances, the runtime gives
it chunks; every context that reaches over a chunk's edge is a state of fixed shape that begins as
zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr.errors import TrainingError
from asr.nn.cells import GroupedCell, GroupedLayerNorm, make_cell
from asr.nn.frontend import MELS

SUBSAMPLING = 4
"""Feature frames per output frame."""

State = dict[str, Tensor]


@dataclass(frozen=True)
class EncoderConfig:
    """Shape of an encoder.

    Attributes:
        cell: `gru`, `gru_reset_before`, `lstm` or `rnn`; see `asr.nn.cells`.
        hidden: units of each recurrent layer.
        layers: recurrent layers.
        channels: of the first convolution.
        groups: into which units and channels are divided. What is in different ones does not meet
            before the heads.
        lookahead: output frames (40 ms each) that the encoder may see ahead; 0 for none.
        dropout: share of units dropped behind each layer in training.
        input_init: `xavier`, `he` or `orthogonal`, for weights on inputs.
        recurrent_init: the same, for weights on hidden states.
        heads: tokens, blank included, of each CTC head by name.
    """

    cell: str = "gru"
    hidden: int = 384
    layers: int = 4
    channels: int = 256
    groups: int = 1
    lookahead: int = 6
    dropout: float = 0.1
    input_init: str = "xavier"
    recurrent_init: str = "orthogonal"
    heads: Mapping[str, int] = field(default_factory=lambda: {"phones": 40})


class Encoder(nn.Module):
    """Features to log-probabilities of tokens, a quarter as many frames.

    The look-ahead convolution stands in the middle of the stack, so that the layers above it read
    what is to come through their gates. It delays the output: the first `lookahead` frames of a
    stream are lead-in that carry nothing.

    Raises:
        TrainingError: for a configuration that cannot be built.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        if config.layers < 1 or config.lookahead < 0 or not config.heads:
            raise TrainingError(
                "an encoder needs at least one layer, one head, and lookahead >= 0; "
                f"got layers={config.layers}, heads={dict(config.heads)}, "
                f"lookahead={config.lookahead}"
            )
        if config.groups < 1 or config.hidden % config.groups or config.channels % config.groups:
            raise TrainingError(
                f"{config.hidden} units and {config.channels} channels cannot be divided into "
                f"{config.groups} groups"
            )
        self.config = config
        hidden, groups = config.hidden, config.groups
        self.conv1 = nn.Conv1d(MELS, config.channels, kernel_size=3, stride=2)
        self.conv2 = nn.Conv1d(config.channels, hidden, kernel_size=3, stride=2, groups=groups)
        self.norms = nn.ModuleList(GroupedLayerNorm(hidden, groups) for _ in range(config.layers))
        make = partial(make_cell, inputs=config.input_init, recurrent=config.recurrent_init)
        self.cells = nn.ModuleList(
            make(config.cell, hidden)
            if groups == 1
            else GroupedCell(make(config.cell, hidden // groups) for _ in range(groups))
            for _ in range(config.layers)
        )
        if config.lookahead:
            # depthwise, as Deep Speech 2's row convolution (Amodei et al. 2016, 3.7)
            self.lookahead = nn.Conv1d(
                hidden, hidden, config.lookahead + 1, groups=hidden, bias=False
            )
            with torch.no_grad():  # at first it only delays
                self.lookahead.weight.zero_()[:, :, 0] = 1.0
        self.norm = GroupedLayerNorm(hidden, groups)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(hidden, tokens) for name, tokens in config.heads.items()}
        )

    @property
    def state_shapes(self) -> dict[str, tuple[int | None, ...]]:
        """Shape of every state by name; None stands for the number of streams."""
        config = self.config
        hidden = (config.layers, None, config.hidden)
        shapes: dict[str, tuple[int | None, ...]] = {
            "conv1": (None, MELS, 1),
            "conv2": (None, config.channels, 1),
            "hidden": hidden,
        }
        if config.cell == "lstm":
            shapes["cell"] = hidden
        if config.lookahead:
            shapes["lookahead"] = (None, config.hidden, config.lookahead)
        return shapes

    def start(self, streams: int) -> State:
        """The state of streams that have not begun: zeros."""
        return {
            name: self.norm.weight.new_zeros([streams if n is None else n for n in shape])
            for name, shape in self.state_shapes.items()
        }

    def step(self, features: Tensor, state: State) -> tuple[dict[str, Tensor], State]:
        """Log-probabilities for a chunk of features.

        Args:
            features: [N, F, MELS], normalised, F a multiple of SUBSAMPLING.
            state: as `start` or the step before gave it.

        Returns:
            log-probabilities [N, F / SUBSAMPLING, tokens] by head, and the next state.
        """
        after: State = {}
        x, after["conv1"] = _convolve(self.conv1, features.transpose(1, 2), state["conv1"])
        x, after["conv2"] = _convolve(self.conv2, F.relu(x), state["conv2"])
        x = self._drop(F.relu(x).permute(2, 0, 1))
        memories = [name for name in ("hidden", "cell") if name in state]
        ends: list[tuple[Tensor, ...]] = []
        for i, (norm, cell) in enumerate(zip(self.norms, self.cells, strict=True)):
            if self.config.lookahead and i == self.config.layers // 2:
                ahead, after["lookahead"] = _convolve(
                    self.lookahead, x.permute(1, 2, 0), state["lookahead"]
                )
                x = ahead.permute(2, 0, 1)
            begin = tuple(state[name][i : i + 1] for name in memories)
            y, end = cell(norm(x), begin if len(begin) > 1 else begin[0])
            ends.append(end if isinstance(end, tuple) else (end,))
            x = x + self._drop(y)
        for name, layers in zip(memories, zip(*ends, strict=True), strict=True):
            after[name] = torch.cat(layers)
        x = self.norm(x).transpose(0, 1)
        return {name: head(x).log_softmax(-1) for name, head in self.heads.items()}, after

    def _drop(self, x: Tensor) -> Tensor:
        """Dropout of [T, N, H] with one mask for all frames (Gal & Ghahramani 2016)."""
        if not self.training or self.config.dropout == 0:
            return x
        return x * F.dropout(torch.ones_like(x[:1]), self.config.dropout)


def _convolve(conv: nn.Conv1d, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """Convolve [N, C, T] with the frames before it; returns the output and the next context."""
    x = torch.cat([context.to(x.dtype), x], dim=2)
    return conv(x), x[:, :, x.shape[2] - context.shape[2] :]
