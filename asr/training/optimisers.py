"""What makes steps of gradients: Muon for matrices inside, AdamW for the rest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.optim import ZeroRedundancyOptimizer

from asr.nn.model import CtcModel
from asr.training.config import TrainConfig

MOMENTUM = 0.95
COEFFICIENTS = 3.4445, -4.7750, 2.0315
"""Of the quintic that Newton and Schulz's iteration applies to singular values (Jordan et al.)."""
ITERATIONS = 5
EPSILON = 1e-7


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are made orthogonal (Jordan et al. 2024).

    As `torch.optim.Muon`, which computes in bfloat16 on any device.

    Args:
        weights: matrices.
        lr: learning rate.
        weight_decay: as a share of the rate.
        bfloat16: make the products in bfloat16.
    """

    def __init__(
        self, weights: Iterable[Tensor], lr: float, weight_decay: float, *, bfloat16: bool
    ) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay})
        self.bfloat16 = bfloat16

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move the weights."""
        assert closure is None
        for group in self.param_groups:
            rate, decay = group["lr"], group["weight_decay"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                momentum = state["momentum_buffer"].lerp_(weight.grad, 1 - MOMENTUM)
                ahead = weight.grad.lerp(momentum, MOMENTUM)  # Nesterov's
                step = orthogonal(ahead.bfloat16() if self.bfloat16 else ahead)
                rows, columns = weight.shape
                weight.mul_(1 - rate * decay)
                weight.add_(step, alpha=-rate * math.sqrt(max(1.0, rows / columns)))


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly U V' of a matrix U S V', by Newton and Schulz's iteration; in the matrix' type."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x: Tensor = wide / wide.norm().clamp(min=EPSILON)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x if wide is matrix else x.T


def make_muon(
    weights: Sequence[Tensor], rows: int, rate: float, decay: float, *, bfloat16: bool
) -> torch.optim.Optimizer:
    """Muon that makes the step of each gate orthogonal on its own.

    Several processes share the matrices out among them.

    Args:
        weights: matrices of cells [gates * rows, inputs], and kernels of convolutions
            [outputs, inputs, width], each of which is taken as one matrix.
        rows: of a gate.
        rate: learning rate.
        decay: weight decay, as a share of the rate.
        bfloat16: make the products in bfloat16.
    """

    def gates(tensors: list[Tensor]) -> list[Tensor]:
        return [gate for tensor in tensors for gate in tensor.flatten(1).split(rows)]

    views = [nn.Parameter(gate) for gate in gates([weight.detach() for weight in weights])]

    def hand_gradients(*_: object) -> None:
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        for view, gradient in zip(views, gates(gradients), strict=True):
            view.grad = gradient

    make: Any = partial(Muon, bfloat16=bfloat16)
    muon: torch.optim.Optimizer
    if dist.is_initialized():
        muon = ZeroRedundancyOptimizer(views, make, lr=rate, weight_decay=decay)
    else:
        muon = make(views, lr=rate, weight_decay=decay)
    muon.register_step_pre_hook(hand_gradients)
    return muon


class Optimisers:
    """What makes the steps of a run, each at the same share of its highest rate.

    Attributes:
        each: their rates are the highest as long as no step was made.
    """

    def __init__(self, each: list[torch.optim.Optimizer]) -> None:
        self.each = each

    @classmethod
    def of(cls, model: CtcModel, config: TrainConfig, *, bfloat16: bool) -> Optimisers:
        """Muon for the matrices of cells and convolutions if it has a rate, AdamW for the rest.

        AdamW (Loshchilov & Hutter 2019) does not decay biases and norms.
        """
        encoder, weights = model.encoder, []
        if config.muon_rate:
            weights = [encoder.conv1.weight, encoder.conv2.weight]
            weights += [p for p in encoder.cells.parameters() if p.ndim == 2]
        known = set(map(id, weights))
        rest = [p for p in model.parameters() if id(p) not in known]
        each: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                [
                    {
                        "params": [p for p in rest if p.ndim > 1],
                        "weight_decay": config.weight_decay,
                    },
                    {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
                ],
                lr=config.learning_rate,
                betas=(0.9, 0.98),
            )
        ]
        if weights:
            rows = config.encoder.hidden // config.encoder.groups
            rate, decay = config.muon_rate, config.weight_decay
            each.append(make_muon(weights, rows, rate, decay, bfloat16=bfloat16))
        return cls(each)

    def step(self, share: float) -> None:
        """Move the weights along their gradients, at a share of the highest rates."""
        for optimiser in self.each:
            for group in optimiser.param_groups:
                group["lr"] = optimiser.defaults["lr"] * share
            optimiser.step()

    def gather(self) -> None:
        """Bring the state of optimisers that processes share out to the first of them."""
        for optimiser in self.each:
            if isinstance(optimiser, ZeroRedundancyOptimizer):
                optimiser.consolidate_state_dict()

    def state(self) -> list[dict[str, Any]]:
        """What a run needs to go on; beside other processes in the first, after `gather`."""
        return [optimiser.state_dict() for optimiser in self.each]

    def load(self, states: list[dict[str, Any]]) -> None:
        """Go on from `state`."""
        for optimiser, state in zip(self.each, states, strict=True):
            optimiser.load_state_dict(state)


def schedule(step: int, warmup: int, total: int) -> float:
    """Share of the highest rate at a step: a linear rise, then a cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
