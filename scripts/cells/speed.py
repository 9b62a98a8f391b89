"""What a cell costs: training, memory, and running as an exported model."""

from __future__ import annotations

import collections
import itertools
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch.nn import functional as F

from asr.export import graph
from asr.export.verify import run
from asr.nn.cells import CELLS
from asr.nn.encoder import EncoderConfig
from asr.nn.frontend import RATE
from asr.nn.model import FRAME, CtcModel
from cells.setting import shapes

STREAMS, SECONDS = 25, 4.0
"""Utterances of a training batch, and how long each is."""
ROUNDS = 5
"""The quickest counts: what else a machine does can only make a round slower."""
CHUNK = 4
"""Frames per chunk of the running model: 160 ms."""
HEARD = 30.0
"""Seconds that the running model hears in a round."""
FUSED = "aten::mkldnn_rnn_layer"
"""What oneDNN's calls for a whole sequence are named after."""
UNFUSED = "torch.nn.LSTM without oneDNN"
LAYERS: dict[str, tuple[str, Callable[[int, int], nn.Module]]] = {
    "torch.nn.RNN": ("rnn", nn.RNN),
    "torch.nn.LSTM": ("lstm", nn.LSTM),
    UNFUSED: ("lstm", nn.LSTM),
    "torch.nn.GRU": ("gru", nn.GRU),
    "asr.nn.gru.GRU": ("gru", CELLS["gru"]),
    "asr.nn.cells.ResetBeforeGRU": ("gru_reset_before", CELLS["gru_reset_before"]),
}
"""Cell and layer."""
LAYER_SIZE, LAYER_FRAMES, LAYER_STREAMS = 384, 100, 100
"""Of the single layers that are profiled; as in en-small, with batches of 400 s."""
STACK = EncoderConfig(hidden=LAYER_SIZE, layers=4, lookahead=0, dropout=0.0)


def training() -> dict[str, dict[str, float]]:
    """Audio seconds per second of an update, by shape: of CPU time, and of a GPU if there is one.

    The shapes take turns, so that what else the machine does disturbs all of them alike.
    """
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    ways = list(itertools.product(devices, (torch.float32, torch.bfloat16)))
    times: dict[tuple[str, str, torch.dtype], list[float]] = collections.defaultdict(list)
    for _ in range(ROUNDS):
        for shape, encoder in shapes().items():
            for device, kind in ways:
                model = CtcModel(encoder).to(device).train()
                _update(model, kind, device)
                times[shape, device, kind].append(_update(model, kind, device))
    found: dict[str, dict[str, float]] = {shape: {} for shape in shapes()}
    for (shape, device, kind), seconds in times.items():
        name = f"{device}_{_name(kind)}"
        found[shape][name] = STREAMS * SECONDS / min(seconds)
    return found


def memory() -> dict[str, dict[str, int]]:
    """Bytes, by shape: of the model's state for a stream, and of an update in training."""
    found = {}
    for shape, encoder in shapes().items():
        states = 2 if encoder.cell == "lstm" else 1
        found[shape] = {
            "state": 4 * states * encoder.layers * encoder.hidden,
            "update": _peak(partial(CtcModel, encoder)),
        }
    return found


def stacks() -> dict[str, dict[str, float]]:
    """Audio seconds per CPU second, and bytes of an update, of encoders as large as en-small's."""
    kinds = (torch.float32, torch.bfloat16)
    names = [name for name in LAYERS if name != UNFUSED]
    models = {name: _stack(name) for name in names}
    times: dict[tuple[str, torch.dtype], list[float]] = collections.defaultdict(list)
    for _ in range(ROUNDS):
        for name, kind in itertools.product(names, kinds):
            times[name, kind].append(_update(models[name], kind, streams=LAYER_STREAMS))
    found: dict[str, dict[str, float]] = {}
    for name in names:
        speeds = {_name(k): LAYER_STREAMS * SECONDS / min(times[name, k]) for k in kinds}
        found[name] = {**speeds, "update": _peak(partial(_stack, name), LAYER_STREAMS)}
    return found


def _stack(name: str) -> CtcModel:
    """An encoder of STACK's shape with layers of this name."""
    cell, make = LAYERS[name]
    with mock.patch.dict(CELLS, {cell: make}):
        return CtcModel(replace(STACK, cell=cell)).train()


def _update(
    model: CtcModel, kind: torch.dtype, device: str = "cpu", streams: int = STREAMS
) -> float:
    """Seconds for forward, loss and backward on one batch; of CPU time where a CPU computes."""
    features = torch.randn(streams, round(SECONDS * 100), 80, device=device)
    phones = torch.randint(1, 40, (streams, round(SECONDS * 10)), device=device)
    clock = time.process_time if device == "cpu" else _gpu_clock
    began = clock()
    with torch.autocast(device, kind, enabled=kind is not torch.float32):
        outputs, _ = model.encoder.step(features, model.encoder.start(streams))
    log_probs = outputs["phones"].float().transpose(0, 1)
    frames = torch.full((streams,), len(log_probs))
    counts = torch.full((streams,), phones.shape[1])
    F.ctc_loss(log_probs, phones, frames, counts).backward()
    return clock() - began


def _gpu_clock() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def _peak(build: Callable[[], CtcModel], streams: int = STREAMS) -> int:
    """Bytes by which an update in float32 lifts the largest resident size of a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_lifted, (build, streams))


def _lifted(build: Callable[[], CtcModel], streams: int) -> int:
    torch.set_num_threads(1)
    for config in (EncoderConfig(cell, hidden=8, layers=1, channels=8) for cell in CELLS):
        _update(CtcModel(config).train(), torch.float32)  # so that the libraries are loaded
    model = build().train()
    before = _largest_resident_size()
    _update(model, torch.float32, streams=streams)
    return _largest_resident_size() - before


def _largest_resident_size() -> int:
    """Bytes; of this process alone, where `getrusage` begins with those of its parent."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def running() -> dict[str, dict[str, dict[str, float]]]:
    """Real-time factor of a stream in onnxruntime on one thread, and bytes of the file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    audio = (0.1 * np.random.default_rng(0).standard_normal((1, round(HEARD * RATE)))).astype("f4")
    cut = [CHUNK] * (audio.shape[1] // (CHUNK * FRAME))
    found: dict[str, dict[str, dict[str, float]]] = {}
    sessions = {}
    for shape, encoder in shapes().items():
        model = CtcModel(encoder).eval()
        found[shape] = {}
        for precision in graph.LAYERS:
            content = graph.build(model, "phones", {}, precision).SerializeToString()
            session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
            sessions[shape, precision] = model, session
            found[shape][precision] = {"bytes": len(content)}
    times: dict[tuple[str, str], list[float]] = collections.defaultdict(list)
    for _ in range(ROUNDS):
        for key, (model, session) in sessions.items():
            began = time.process_time()
            frames = sum(log_probs.shape[1] for log_probs in run(session, model, audio, cut))
            times[key].append((time.process_time() - began) * RATE / (frames * FRAME))
    for (shape, precision), factors in times.items():
        found[shape][precision]["factor"] = min(factors)
    return found


def layers() -> list[dict[str, Any]]:
    """Single layers of torch and of Rill: time of an update, and what it is made of."""
    built = {name: make(LAYER_SIZE, LAYER_SIZE) for name, (_, make) in LAYERS.items()}
    ways = [(name, kind) for name in built for kind in (torch.float32, torch.bfloat16)]
    ways.remove((UNFUSED, torch.bfloat16))  # all products of bfloat16 are oneDNN's
    times: dict[tuple[str, torch.dtype], list[float]] = collections.defaultdict(list)
    for _ in range(ROUNDS):
        for name, kind in ways:
            times[name, kind].append(_layer_update(built[name], kind, onednn=name != UNFUSED))
    found = []
    for name, kind in ways:
        with torch.profiler.profile() as profile:
            _layer_update(built[name], kind, onednn=name != UNFUSED)
        counts = {event.key: event.count for event in profile.key_averages()}
        found.append(
            {
                "layer": name,
                "precision": _name(kind),
                "milliseconds": 1000 * min(times[name, kind]),
                "calls": sum(counts.values()),
                "products": sum(counts.get(f"aten::{name}", 0) for name in ("mm", "addmm")),
                "fused": sum(n for key, n in counts.items() if key.startswith(FUSED)),
            }
        )
    return found


def _layer_update(layer: nn.Module, kind: torch.dtype, *, onednn: bool) -> float:
    """CPU seconds for forward and backward of one layer over random frames."""
    x = torch.randn(LAYER_FRAMES, LAYER_STREAMS, LAYER_SIZE, requires_grad=True)
    slope = torch.randn(LAYER_FRAMES, LAYER_STREAMS, LAYER_SIZE)
    zeros = torch.zeros(1, LAYER_STREAMS, LAYER_SIZE)
    state = (zeros, zeros) if isinstance(layer, nn.LSTM) else zeros
    with torch.backends.mkldnn.flags(enabled=onednn):
        began = time.process_time()
        with torch.autocast("cpu", kind, enabled=kind is not torch.float32):
            y, _ = layer(x, state)
        y.backward(slope.to(y.dtype))
        return time.process_time() - began


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")
