"""Whether an exported graph computes what the model in torch computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch

from asr.errors import ExportError
from asr.nn.model import FRAME

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from asr.nn.model import CtcModel

    Floats = NDArray[np.float32]

TOLERANCE = 1e-4
"""Largest difference of any log-probability, in nats."""
FRAMES = 50
STREAMS = (1, 2, 5)
CUTS = ([FRAMES], [1] * FRAMES, [1, 3, 9, 27, 10], [25, 24, 1])
"""Ways to cut FRAMES output frames into chunks."""


def verify(content: bytes, model: CtcModel, head: str) -> float:
    """Compare a graph with the model it was made from.

    Args:
        content: the ONNX file.
        model: the model in torch.
        head: the CTC head that was exported.

    Returns:
        the largest difference of a log-probability.

    Raises:
        ExportError: when it is over TOLERANCE, for any number of streams and any cut.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for streams in STREAMS:
        audio = sound(streams)
        with torch.inference_mode():
            outputs, _ = model.eval().step(torch.from_numpy(audio), model.start(streams))
        want = outputs[head].numpy()
        for cut in CUTS:
            got = np.concatenate(list(run(session, model, audio, cut)), axis=1)
            difference = float(np.abs(got - want).max()) if got.shape == want.shape else np.inf
            if not difference <= TOLERANCE:
                raise ExportError(
                    f"the exported graph is {difference:.2g} off torch with {streams} streams cut "
                    f"into {len(cut)} chunks, allowed is {TOLERANCE:.0e}; nothing was written"
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
