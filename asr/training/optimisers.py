"""What makes steps of gradients: Muon for matrices inside, AdamW for the rest."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.optim import ZeroRedundancyOptimizer

from asr.nn.model import CtcModel
from asr.training.config import TrainConfig


def make_muon(weights: list[Tensor], rows: int, rate: float, decay: float) -> torch.optim.Optimizer:
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


def make_optimisers(model: CtcModel, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of cells and convolutions if it has a rate, AdamW for the rest.

    AdamW (Loshchilov & Hutter 2019) does not decay biases and norms. Rates are the highest.
    """
    encoder, weights = model.encoder, []
    if config.muon_rate:
        weights = [encoder.conv1.weight, encoder.conv2.weight]
        weights += [p for p in encoder.cells.parameters() if p.ndim == 2]
    known = set(map(id, weights))
    rest = [p for p in model.parameters() if id(p) not in known]
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [
                {"params": [p for p in rest if p.ndim > 1], "weight_decay": config.weight_decay},
                {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=(0.9, 0.98),
        )
    ]
    if weights:
        hidden = config.encoder.hidden
        optimisers.append(make_muon(weights, hidden, config.muon_rate, config.weight_decay))
    return optimisers


def gather_state(optimiser: torch.optim.Optimizer) -> None:
    """Bring the state of an optimiser that processes share out to the first of them."""
    if isinstance(optimiser, ZeroRedundancyOptimizer):
        optimiser.consolidate_state_dict()
