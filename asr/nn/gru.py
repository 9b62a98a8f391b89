"""A GRU that trains several times faster on a CPU than `torch.nn.GRU`, with the same result.

PyTorch's own runs a dozen small operations per frame forward and lets autograd repeat them
backward, a weight gradient per frame included. Here a frame costs one matrix product and four
elementwise operations in either direction; whatever does not depend on the frame before is
computed for all frames at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GRU(nn.GRU):
    """`torch.nn.GRU` of one layer, time first, with an own loop for training on a CPU."""

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """[T, N, inputs] and [1, N, hidden] to [T, N, hidden] and the next state."""
        weights = W, U, b, c = tuple(self.parameters())
        if x.is_cuda:  # cuDNN has all of it in one kernel
            return torch.gru(x, state, weights, True, 1, 0.0, self.training, False, False)
        states: Tensor = _recur(F.linear(x, W, b), state[0], U, c)
        return states, states[-1:]


class _Recurrence(torch.autograd.Function):
    """`h' = n + z (h - n)` with `n = tanh(a_n + r (U_n h + c_n))` over all frames.

    The matrix products run in the type of the inputs (bfloat16 under autocast), the state is
    carried in float32 or better.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, h: Tensor, U: Tensor, c: Tensor) -> Tensor:
        """[T, N, 3 H] products of the inputs for gates r, z, n; returns states [T, N, H]."""
        frames, streams, size = len(inputs), *h.shape
        kind = torch.promote_types(inputs.dtype, torch.float32)
        states = torch.empty(frames + 1, streams, size, dtype=kind)
        gates = torch.empty(frames, streams, 2 * size, dtype=inputs.dtype)
        candidates = torch.empty(frames, streams, size, dtype=inputs.dtype)
        products = torch.empty(frames, streams, size, dtype=inputs.dtype)
        states[0] = h
        U, c = U.to(inputs.dtype), c.to(inputs.dtype)
        for t in range(frames):
            product = F.linear(states[t].to(inputs.dtype), U, c)
            rz = torch.add(inputs[t, :, : 2 * size], product[:, : 2 * size], out=gates[t])
            r, z = rz.sigmoid_().chunk(2, dim=1)
            products[t] = product[:, 2 * size :]
            n = torch.addcmul(inputs[t, :, 2 * size :], r, products[t], out=candidates[t]).tanh_()
            torch.lerp(n.to(kind), states[t], z.to(kind), out=states[t + 1])
        ctx.save_for_backward(states, gates, candidates, products, U)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Back-propagation through time, the weight gradients as one product at the end."""
        states, gates, n, products, U = ctx.saved_tensors
        before, kind = states[:-1].to(n.dtype), states.dtype
        r, z = gates.chunk(2, dim=2)
        to_n = (1 - z) * (1 - n * n)
        slopes = torch.cat(  # of the products U h + c, for a change of h' by one
            [to_n * products * r * (1 - r), (before - n) * z * (1 - z), to_n * r], dim=2
        )
        changes = torch.empty_like(states[:-1])
        of_products = torch.empty_like(slopes)
        dh = torch.zeros_like(states[0])
        columns = U.T.contiguous()
        for t in reversed(range(len(n))):
            torch.add(grads[0][t], dh, out=changes[t])
            repeated = changes[t].to(n.dtype).repeat(1, 3)
            torch.mul(slopes[t], repeated, out=of_products[t])
            dh = torch.addcmul(
                F.linear(of_products[t], columns).to(kind), changes[t], z[t].to(kind)
            )
        of_inputs = of_products.clone()
        of_inputs[:, :, -n.shape[2] :] = changes.to(n.dtype) * to_n
        flat = of_products.flatten(0, 1)
        return of_inputs, dh, flat.T @ before.flatten(0, 1), flat.sum(0, dtype=kind)


_recur: Callable[..., Tensor] = _Recurrence.apply
