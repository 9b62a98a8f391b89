"""One process, or several that torchrun started and that share the work of every batch."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

PATIENCE = timedelta(days=7)
"""How long processes wait for one another: the first one computes the features of all speech."""

FLOATS = "this processor is slow at bfloat16: training in 32-bit floats"


class Processes:
    """The processes of a run, from the point of view of one of them.

    Each takes every `world`-th utterance of a batch and sums its gradient with the others', which
    makes the same update as one process with the whole batch.

    Attributes:
        rank: number of this process, from 0 on.
        world: how many there are.
        device: that this process computes on.
        bfloat16: whether it is quick at products in bfloat16. A processor without AVX-512 makes
            them one by one, 40 times slower than those of floats.
    """

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        cuda = torch.cuda.is_available()
        self.device = torch.device("cpu")
        if cuda:
            self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            self.bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            self.bfloat16 = torch.backends.cpu.get_cpu_capability() == "AVX512"
        if self.world > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
            # its threads must not outlive what they are threads of: now and then that aborts
            atexit.register(dist.destroy_process_group)

    def sum(self, value: Tensor) -> Tensor:
        """The sum of everybody's value."""
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by the sum of everybody's."""
        if self.world == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, total in zip(
            gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True
        ):
            gradient.copy_(total.view_as(gradient))

    def gather(self, value: T) -> list[T]:
        """Everybody's value, by rank."""
        values: list[T] = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(values, value)
        return values

    def agree(self, decision: bool) -> bool:
        """What the first process has decided."""
        said = torch.tensor(float(decision and self.rank == 0), device=self.device)
        return bool(self.sum(said))

    def first_alone(self, work: Callable[[], T]) -> T:
        """Run something in the first process, and in the others when it is done."""
        if self.rank > 0:
            dist.barrier()
        result = work()
        if self.rank == 0 and self.world > 1:
            dist.barrier()
        return result
