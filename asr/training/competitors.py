"""Whatever else could have been said: what CTC is normalised by to become a CRF.

CTC makes what was said likely; that it is likelier than what it could be mistaken for is left to
chance. CTC-CRF (Xiang and Ou, "CRF-based single-stage acoustic modeling with CTC topology", ICASSP
2019) divides by the sum over all sentences of phones, each weighed by a model of the language of
phones, as lattice-free MMI does (Povey et al., Interspeech 2016). Here that model has all trigrams,
so that the sum is a product of dense matrices for each frame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from asr.decoding.hypothesis import BLANK
from asr.decoding.lexicon import TOKENS

MOST = 1e30
"""What frames to come may count at most, against those of the likeliest way."""


class Competitors:
    """What CTC-CRF adds to the loss of CTC."""

    def __init__(self, tokens: Tensor, counts: Tensor, device: torch.device) -> None:
        """Counts trigrams in the sentences of the training speech, given as to `contexts`."""
        self.likely = phone_trigrams(tokens, counts).to(device)
        self.transitions = transitions(self.likely)

    def __call__(self, log_probs: Tensor, frames: Tensor, tokens: Tensor, counts: Tensor) -> Tensor:
        """Logarithm of how likely all sentences are against the right ones, summed over a batch.

        Args:
            log_probs: [N, T, V].
            frames: [N] of T that count.
            tokens: the right phones, one utterance after the other.
            counts: [N], how many each utterance has.
        """
        before, last = contexts(tokens, counts)
        right = self.likely[before, last, tokens].log()
        return total(*self._cut(log_probs, frames), self.transitions).sum() - right.sum()

    def posteriors(self, log_probs: Tensor, frames: Tensor) -> Tensor:
        """How likely each token is in each frame [N, T, V], given all frames and the trigrams."""
        return sums(*self._cut(log_probs, frames), self.transitions)[1]

    @staticmethod
    def _cut(log_probs: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Without the frames that count in no utterance, all in one place."""
        return log_probs[:, : int(frames.max())], frames.to(log_probs.device)


def contexts(tokens: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The phone before the one before each of some phones, and the one before it.

    Where an utterance begins, these are blank.

    Args:
        tokens: phones of all utterances, one after the other.
        counts: [N], how many each utterance has.
    """
    place = torch.arange(len(tokens)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    last, before = (tokens.roll(by).masked_fill(place < by, BLANK) for by in (1, 2))
    return before, last


def phone_trigrams(tokens: Tensor, counts: Tensor) -> Tensor:
    """How likely each phone is after any two: [V, V, V], the last axis for itself.

    Smoothed as Witten and Bell did (1991): to what a context was seen with come as many times more
    as there were different phones, and these are shared out as the shorter context has it.

    Args:
        tokens: phones of all utterances, one after the other.
        counts: [N], how many each utterance has.
    """
    size = len(TOKENS)
    before, last = contexts(tokens, counts)
    each = (before * size + last) * size + tokens
    times = torch.bincount(each, minlength=size**3).view(size, size, size).double()
    likely = torch.full((size,), 1 / (size - 1), dtype=times.dtype)
    likely[BLANK] = 0
    for seen in (times.sum((0, 1)), times.sum(0), times):
        kinds = (seen > 0).sum(-1, keepdim=True)
        share = (seen + kinds * likely) / (seen.sum(-1, keepdim=True) + kinds)
        likely = torch.where(kinds > 0, share, likely)
    return likely.float()


def transitions(likely: Tensor) -> Tensor:
    """The trigrams as `sums` takes them.

    A state is the last phone, the one before it, and whether a blank has followed: a phone that
    comes twice has one between.

    Args:
        likely: [V, V, V], as `phone_trigrams` gives it.

    Returns:
        [V, 2 V, V]: by the last phone; by the one before it, without blank and with; by the next.
    """
    after_blank = likely.transpose(0, 1)
    same = torch.eye(len(likely), dtype=torch.bool, device=likely.device)[:, None]
    return torch.cat([after_blank.masked_fill(same, 0), after_blank], dim=1)


def sums(log_probs: Tensor, frames: Tensor, ways: Tensor) -> tuple[Tensor, Tensor]:
    """The sum over all sentences of phones, each as likely as CTC finds it times what trigrams say.

    Forward and backward sums are of probabilities, and made to be 1 in each frame.

    Args:
        log_probs: [N, T, V].
        frames: [N] of T that count.
        ways: as `transitions` gives them.

    Returns:
        its logarithm, [N]; and how likely each token is in each frame then, [N, T, V], which is
        the gradient.
    """
    streams, most, size = log_probs.shape
    behind = torch.arange(most, device=log_probs.device) >= frames[:, None]
    probs = log_probs.exp().masked_fill(behind[..., None], 0)
    probs[..., BLANK].masked_fill_(behind, 1)  # nothing changes there any more
    probs = probs.permute(1, 2, 0).contiguous()[..., None]  # [T, V, N, 1]
    forward = probs.new_zeros(most + 1, size, streams, 2 * size)
    forward[0, BLANK, :, size + BLANK] = 1
    scales = probs.new_zeros(most, streams, 1)
    for t in range(most):
        phone, blank = forward[t].split(size, dim=2)
        now_phone, now_blank = forward[t + 1].split(size, dim=2)
        begun = torch.bmm(forward[t], ways).permute(2, 1, 0)
        torch.mul(begun + phone, probs[t], out=now_phone)
        torch.mul(phone + blank, probs[t, BLANK], out=now_blank)
        scales[t] = forward[t + 1].sum((0, 2))[:, None]
        forward[t + 1] /= scales[t]
    said = probs.new_zeros(most, size, streams)
    backward = torch.ones_like(forward[0])
    for t in reversed(range(most)):
        both = forward[t + 1] * backward
        said[t] = both[:, :, :size].sum(2)
        said[t, BLANK] = both[:, :, size:].sum((0, 2))
        phone, blank = (backward / scales[t]).split(size, dim=2)
        phone, blank = phone * probs[t], blank * probs[t, BLANK]
        backward = torch.bmm(phone.permute(2, 1, 0), ways.mT)
        backward[:, :, :size] += phone
        backward += blank.repeat(1, 1, 2)
        backward.clamp_(max=MOST)
    said = said.permute(2, 0, 1).masked_fill(behind[..., None], 0)
    return scales.squeeze(2).log().sum(0), said


class _Total(torch.autograd.Function):
    """The first of `sums`."""

    @staticmethod
    def forward(ctx: Any, log_probs: Tensor, frames: Tensor, ways: Tensor) -> Tensor:
        total, said = sums(log_probs, frames, ways)
        ctx.save_for_backward(said)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (said,) = ctx.saved_tensors
        return grads[0][:, None, None] * said, None, None


total: Callable[[Tensor, Tensor, Tensor], Tensor] = _Total.apply
