"""What makes steps of gradients: Muon for matrices inside, AdamW for the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.optim import ZeroRedundancyOptimizer

from asr.nn.model import CtcModel
from asr.training.config import TrainConfig


def make_muon(
    weights: Sequence[Tensor], rows: int, rate: float, decay: float
) -> torch.optim.Optimizer:
    """Muon (Jordan et al. 2024) that makes the step of each gate orthogonal on its own.

    Several processes share the matrices out among them.

    Args:
        weights: matrices of cells [gates * rows, inputs], and kernels of convolutions
            [outputs, inputs, width], each of which is taken as one matrix.
        rows: of a gate.
        rate: learning rate.
        decay: weight decay, as a share of the rate.
    """

    def gates(tensors: list[Tensor]) -> list[Tensor]:
        return [gate for tensor in tensors for gate in tensor.flatten(1).split(rows)]

    views = [nn.Parameter(gate) for gate in gates([weight.detach() for weight in weights])]

    def hand_gradients(*_: object) -> None:
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        for view, gradient in zip(views, gates(gradients), strict=True):
            view.grad = gradient

    muon: torch.optim.Optimizer
    if dist.is_initialized():
        muon = ZeroRedundancyOptimizer(views, torch.optim.Muon, lr=rate, weight_decay=decay)
    else:
        muon = torch.optim.Muon(views, lr=rate, weight_decay=decay)
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
    def of(cls, model: CtcModel, config: TrainConfig) -> Optimisers:
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
            each.append(make_muon(weights, rows, config.muon_rate, config.weight_decay))
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
