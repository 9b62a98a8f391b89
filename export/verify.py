"""Whether an exported graph computes what the model in torch computes."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch

from asr.errors import ExportError
from asr.nn.model import FRAME
from asr.session import open_session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import onnxruntime
    from numpy.typing import NDArray

    from asr.nn.model import CtcModel

    Floats = NDArray[np.float32]

TOLERANCE = 5e-4
"""Largest difference of any log-probability from that in 64-bit floats, in nats. A model of 15
million weights was 2.6e-4 off in 32-bit floats, torch's own 1.5e-4."""
SHIFTED = 0.05
"""Largest mean share of the probability that 8-bit integers may give to other tokens."""
FRAMES = 50
STREAMS = (1, 2, 5)
CUTS = ([FRAMES], [1] * FRAMES, [1, 3, 9, 27, 10], [25, 24, 1])
"""Ways to cut FRAMES output frames into chunks."""


def verify(content: bytes, model: CtcModel, head: str, precision: str = "fp32") -> float:
    """Compare a graph with the model it was made from.

    Args:
        content: the ONNX file.
        model: the model in torch.
        head: the CTC head that was exported.
        precision: of the graph.

    Returns:
        what `compare` does.

    Raises:
        ExportError: when they differ, for any number of streams and any cut.
    """

    def pairs() -> Iterator[tuple[Floats, Floats]]:
        session = open_session(content)
        exact = copy.deepcopy(model).eval().double()
        for streams in STREAMS:
            audio = sound(streams)
            with torch.inference_mode():
                outputs, _ = exact.step(torch.from_numpy(audio).double(), exact.start(streams))
            for cut in CUTS:
                got = np.concatenate(list(run(session, model, audio, cut)), axis=1)
                yield got, outputs[head].numpy()

    return compare(pairs(), precision)


def compare(pairs: Iterable[tuple[Floats, Floats]], precision: str) -> float:
    """Compare log-probabilities [N, T, V] with those that they should be.

    Returns:
        of all pairs the worst: in floats the largest difference, in nats; in integers the mean
        share of the probability that other tokens have (the total variation).

    Raises:
        ExportError: when it is over TOLERANCE or SHIFTED.
    """
    worst, allowed = 0.0, TOLERANCE if precision == "fp32" else SHIFTED
    for got, want in pairs:
        if got.shape != want.shape:
            raise ExportError(
                f"the exported graph gives {list(got.shape)}, torch {list(want.shape)}; "
                "nothing was written"
            )
        if precision == "fp32":
            difference = float(np.abs(got - want).max())
        else:
            difference = float(np.abs(np.exp(got) - np.exp(want)).sum(axis=-1).mean() / 2)
        if not difference <= allowed:
            raise ExportError(
                f"the exported graph in {precision} is {difference:.2g} off torch, allowed is "
                f"{allowed:.0e}; nothing was written"
            )
        worst = max(worst, difference)
    return worst


def sound(streams: int) -> Floats:
    """Something that is loud and quiet, tonal and noisy, [streams, FRAMES * FRAME]."""
    rng = np.random.default_rng(streams)
    time = np.arange(FRAMES * FRAME) / 16_000
    pitch = rng.uniform(80, 300, (streams, 1))
    voice = sum(np.sin(2 * np.pi * k * pitch * time) / k for k in range(1, 20))
    loudness = np.sin(2 * np.pi * rng.uniform(1, 4, (streams, 1)) * time).clip(0)
    noise = rng.standard_normal((streams, len(time)))
    return (0.1 * loudness * voice + 0.003 * noise).astype(np.float32)


def run(
    session: onnxruntime.InferenceSession, model: CtcModel, audio: Floats, cut: Iterable[int]
) -> Iterable[Floats]:
    """Log-probabilities [N, frames, V] of each chunk, the state carried on."""
    state = {name: tensor.numpy() for name, tensor in model.start(len(audio)).items()}
    begin = 0
    for frames in cut:
        chunk = audio[:, begin * FRAME : (begin + frames) * FRAME]
        log_probs, *after = session.run(None, {"audio": chunk, **state})
        state = dict(zip(state, after, strict=True))
        begin += frames
        yield log_probs
