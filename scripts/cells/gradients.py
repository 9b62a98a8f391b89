"""Gradients that vanish on their way back in time, and gradients that explode."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.functional import forced_align

from asr.nn.encoder import EncoderConfig
from asr.nn.model import CtcModel
from asr.training.batches import collate, epoch_batches
from asr.training.features import FeatureStore, feature_store
from cells.setting import Setting, fresh_model

STREAMS = 6
"""Stretches of speech that the norms are averaged over."""
CLIPPING = {"none": math.inf, "norm": 1.0, "value": 0.01}


def reach(model: CtcModel, store: FeatureStore, distance: int) -> dict[str, list[float]]:
    """How much of one frame's gradient arrives at the hidden state of earlier frames.

    The loss is that of one frame: the negative log-probability of the phone that the best path
    through the transcript has there. The encoder runs frame by frame, so that its state is a node
    of the graph at every frame; the gradient is that with respect to the states of all layers.

    Args:
        model: the model.
        store: speech; utterances are joined until they are long enough.
        distance: frames to go back, at most.

    Returns:
        norm at 1, 2, ... frames before the loss, geometric mean over STREAMS, for `hidden` and, of
        an LSTM, `cell`.
    """
    model.eval()
    groups = _joined(store, 4 * (distance + 60))
    batch = collate(store, groups, 0)
    features = model.normalise(batch.features)
    frames, phones = _spoken_frames(model, features, batch.tokens, batch.counts, distance)
    states, log_probs = _unrolled(model, features[:, : 4 * (int(frames.max()) + 1)])
    rows = torch.arange(STREAMS)
    (-log_probs[rows, frames, phones].sum()).backward()
    found: dict[str, list[float]] = {}
    for name in ("hidden", "cell"):
        if name not in states[0]:
            continue
        norms = torch.stack([_gradient(state[name]).norm(dim=(0, 2)) for state in states[:-1]])
        back = torch.stack([norms[frame - distance : frame, n] for n, frame in enumerate(frames)])
        mean = back.double().clamp_min(torch.finfo().tiny).log().mean(0).exp().flip(0)
        found[name] = [float(f"{value:.3g}") for value in mean]
    return found


def _joined(store: FeatureStore, frames: int) -> list[list[int]]:
    """STREAMS groups of utterances, one after the other, each of at least so many frames."""
    groups: list[list[int]] = [[]]
    for i in range(len(store.frames)):
        if sum(store.frames[groups[-1]]) >= frames:
            groups.append([])
        if len(groups) > STREAMS:
            return groups[:STREAMS]
        groups[-1].append(i)
    raise ValueError(f"{len(store.frames)} utterances are too few for {STREAMS} of {frames} frames")


@torch.no_grad()
def _spoken_frames(
    model: CtcModel, features: Tensor, tokens: Tensor, counts: Tensor, distance: int
) -> tuple[Tensor, Tensor]:
    """The first frame [N] after `distance` that says a phone, and which it says."""
    outputs, _ = model.encoder.step(features, model.encoder.start(len(features)))
    frames, phones = [], []
    for row, target in zip(outputs["phones"], tokens.split(counts.tolist()), strict=True):
        path, _ = forced_align(row[None], target[None])
        frame = distance + int(path[0, distance:].nonzero()[0])
        frames.append(frame)
        phones.append(int(path[0, frame]))
    return torch.tensor(frames), torch.tensor(phones)


def _gradient(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def _unrolled(model: CtcModel, features: Tensor) -> tuple[list[dict[str, Tensor]], Tensor]:
    """The state after each frame, its gradient to be kept, and log-probabilities [N, T, V]."""
    states, outputs = [], []
    state = model.encoder.start(len(features))
    for frame in features.split(4, dim=1):
        output, state = model.encoder.step(frame, state)
        for name in ("hidden", "cell"):
            if name in state:
                state[name].retain_grad()
        states.append(state)
        outputs.append(output["phones"])
    return states, torch.cat(outputs, dim=1)


def explode(setting: Setting, encoder: EncoderConfig, clipping: str, rate: float) -> dict[str, Any]:
    """Train by plain gradient descent for an epoch, at a learning rate that is too high.

    Plain, because AdamW divides every element of the gradient by its usual size, which hides what
    is looked for.

    Args:
        setting: the data.
        encoder: the model.
        clipping: a key of CLIPPING.
        rate: learning rate.

    Returns:
        loss, and norm of the gradient before it is clipped, by step, up to the first that is not
        finite.
    """
    config = setting.config(encoder, 1, rate)
    store = feature_store(config.train, config.speeds, config.cache)
    model = fresh_model(config, store).train()
    weights = list(model.parameters())
    optimiser = torch.optim.SGD(weights, lr=rate, momentum=0.9)
    losses, norms = [], []
    for batch in epoch_batches(store, config, 0):
        outputs, _ = model.encoder.step(
            model.normalise(batch.features), model.encoder.start(len(batch.features))
        )
        log_probs = outputs["phones"].transpose(0, 1)
        total = F.ctc_loss(log_probs, batch.tokens, batch.frames, batch.counts, reduction="sum")
        loss = total / batch.counts.sum()
        optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.get_total_norm([w.grad for w in weights if w.grad is not None])
        losses.append(loss.item())
        norms.append(norm.item())
        if not math.isfinite(loss.item() + norm.item()):
            break
        if clipping == "norm":
            nn.utils.clip_grad_norm_(weights, CLIPPING["norm"])
        elif clipping == "value":
            nn.utils.clip_grad_value_(weights, CLIPPING["value"])
        optimiser.step()
    return {"cell": encoder.cell, "clipping": clipping, "rate": rate, "loss": losses, "norm": norms}
