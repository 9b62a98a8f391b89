"""Recurrent layers by name, one signature for all: `(x [T, N, H], *state [1, N, H])`.

The four cells and their gates, with `s` the logistic function and `*` elementwise:

| name | update |
|---|---|
| `rnn` | h' = tanh(W x + b + U h + c) (Elman 1990) |
| `gru` | h' = (1 - z) * tanh(W x + b + r * (U h + c)) + z * h, as PyTorch and cuDNN have it |
| `gru_reset_before` | h' = (1 - z) * tanh(W x + b + U (r * h) + c) + z * h (Cho et al. 2014) |
| `lstm` | c' = f * c + i * tanh(W x + b + U h + d), h' = o * tanh(c') (Gers et al. 2000) |

where z, r, i, f, o are each s(W x + b + U h + c) with weights of their own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr.errors import TrainingError
from asr.nn.gru import GRU


class ResetBeforeGRU(nn.Module):
    """GRU that resets the state before the recurrent product (ONNX: `linear_before_reset=0`).

    Parameters are named and laid out as those of `torch.nn.GRU`: rows are the gates r, z, n.
    """

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.weight_ih_l0 = nn.Parameter(torch.empty(3 * hidden, size))
        self.weight_hh_l0 = nn.Parameter(torch.empty(3 * hidden, hidden))
        self.bias_ih_l0 = nn.Parameter(torch.zeros(3 * hidden))
        self.bias_hh_l0 = nn.Parameter(torch.zeros(3 * hidden))
        self.hidden_size = hidden

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """[T, N, size] and [1, N, hidden] to [T, N, hidden] and the next state."""
        gates, candidate = self.hidden_size * 2, self.hidden_size
        bias = self.bias_ih_l0 + self.bias_hh_l0
        inputs = F.linear(x, self.weight_ih_l0, bias).split([gates, candidate], dim=-1)
        U, U_n = self.weight_hh_l0.split([gates, candidate])
        h = state[0]
        outputs = []
        for at_gates, at_candidate in zip(*(part.unbind() for part in inputs), strict=True):
            r, z = torch.sigmoid(at_gates + F.linear(h, U)).chunk(2, dim=-1)
            n = torch.tanh(at_candidate + F.linear(r * h, U_n))
            h = n + z * (h - n)
            outputs.append(h)
        return torch.stack(outputs) if outputs else x[..., :0], h[None]


class GroupedCell(nn.ModuleList):
    """Cells side by side: each has its part of the inputs, the units and the state."""

    def forward(
        self, x: Tensor, state: Tensor | tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor | tuple[Tensor, ...]]:
        """As a single cell of all the units does."""
        memories = state if isinstance(state, tuple) else (state,)
        parts = (whole.chunk(len(self), dim=-1) for whole in (x, *memories))
        outputs, ends = [], []
        for cell, y, *begin in zip(self, *parts, strict=True):
            y, end = cell(y, tuple(begin) if len(begin) > 1 else begin[0])
            outputs.append(y)
            ends.append(end if isinstance(end, tuple) else (end,))
        after = tuple(torch.cat(parts, dim=-1) for parts in zip(*ends, strict=True))
        return torch.cat(outputs, dim=-1), after if len(after) > 1 else after[0]


class GroupedLayerNorm(nn.LayerNorm):
    """Layer norm of each group of units by itself (Ba et al. 2016)."""

    def __init__(self, units: int, groups: int) -> None:
        super().__init__(units)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """[..., units] likewise."""
        if self.groups == 1:
            return super().forward(x)
        parts = x.unflatten(-1, (self.groups, -1))
        normed = F.layer_norm(parts, parts.shape[-1:], eps=self.eps).flatten(-2)
        return normed * self.weight + self.bias


CELLS: dict[str, Callable[[int, int], nn.Module]] = {
    "gru": GRU,
    "gru_reset_before": ResetBeforeGRU,
    "lstm": nn.LSTM,
    "rnn": nn.RNN,
}

INITIALISERS: dict[str, Callable[[Tensor], Tensor]] = {
    "xavier": nn.init.xavier_uniform_,
    "he": lambda weight: nn.init.kaiming_uniform_(weight, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
}
"""Glorot & Bengio 2010; He et al. 2015; Saxe et al. 2014."""


def make_cell(name: str, size: int, *, inputs: str, recurrent: str) -> nn.Module:
    """A recurrent layer of `size` units over `size` inputs, initialised gate by gate.

    Args:
        name: a key of CELLS.
        size: inputs and hidden units.
        inputs: initialisation of W, a key of INITIALISERS.
        recurrent: initialisation of U, a key of INITIALISERS.

    Raises:
        TrainingError: for an unknown name.
    """
    for kind, key, known in (
        ("cell", name, CELLS),
        ("initialisation", inputs, INITIALISERS),
        ("initialisation", recurrent, INITIALISERS),
    ):
        if key not in known:
            raise TrainingError(f"unknown {kind} {key!r}; known are {', '.join(known)}")
    cell = CELLS[name](size, size)
    with torch.no_grad():
        for parameter, weight in cell.named_parameters():
            if parameter.startswith("bias"):
                weight.zero_()
                continue
            initialise = INITIALISERS[inputs if "_ih_" in parameter else recurrent]
            for gate in weight.split(size):
                initialise(gate)
        if name == "lstm":  # an open forget gate at first (Jozefowicz et al. 2015)
            cell.get_parameter("bias_ih_l0")[size : 2 * size] = 1.0
    return cell
