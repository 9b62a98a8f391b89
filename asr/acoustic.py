"""The acoustic model on onnxruntime: audio in, log-probabilities out, state as a value."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from asr.bundle import MEND
from asr.errors import DeviceError, ModelError
from asr.session import open_session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from asr.bundle import Bundle

    Floats = NDArray[np.float32]

State = dict[str, "Floats | onnxruntime.OrtValue"]
"""Tensors by name; on the CPU arrays, elsewhere values that stay on the device."""


class AcousticModel:
    """A loaded model; it holds no stream's state, and any number of threads may share it.

    Attributes:
        bundle: the folder it came from.
        device: `cpu` or `cuda`.
        precision: `fp32` or `int8`; their states are interchangeable.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str = "cpu",
        threads: int = 1,
        *,
        precision: str | None = None,
        bind: bool | None = None,
    ) -> None:
        """Load.

        Args:
            bundle: the model folder.
            device: `cpu`, `cuda`, or `auto` for cuda where there is one.
            threads: that one step may use.
            precision: `fp32` or `int8`; None for int8 on a CPU if the folder has it.
            bind: keep states on the device by I/O binding; None for all devices but the CPU.

        Raises:
            DeviceError: when the device is unknown or not there, or has no int8.
            ModelError: when the graph is none, or does not fit the folder's settings.
        """
        self.bundle = bundle
        self.device, self._session = _start(bundle, device, threads, precision)
        self.precision = precision or _default_precision(bundle, self.device)
        self._bind = self.device != "cpu" if bind is None else bind
        self._shapes = bundle.settings.states
        self._outputs = ["log_probs", *(f"next_{name}" for name in self._shapes)]
        self._check()

    def _check(self) -> None:
        """That inputs and outputs are those that the settings promise."""
        where = _file(self.bundle, self.precision)
        try:
            inputs = {node.name: node.shape for node in self._session.get_inputs()}
            outputs = {node.name: node.shape for node in self._session.get_outputs()}
        except UnicodeDecodeError:
            raise ModelError(f"{where} is damaged: its names are no text; {MEND}") from None
        if inputs.keys() != {"audio", *self._shapes}:
            raise ModelError(
                f"{where} has inputs {', '.join(inputs)}; config.json promises audio, "
                f"{', '.join(self._shapes)}"
            )
        for name, shape in self._shapes.items():
            fixed = [n if isinstance(n, int) else None for n in inputs[name]]
            if fixed != list(shape):
                raise ModelError(f"{where}: state {name} is {fixed}, config.json says {shape}")
        if outputs.keys() != set(self._outputs):
            raise ModelError(f"{where} does not return log-probabilities and every state")
        tokens = outputs["log_probs"][-1]
        if tokens != len(self.bundle.tokens):
            raise ModelError(
                f"{where} tells {tokens} tokens apart, tokens.txt names {len(self.bundle.tokens)}"
            )
        frame = self.bundle.settings.frame
        try:
            log_probs, state = self.step(np.zeros((1, frame), np.float32))
        except MemoryError:
            raise ModelError(f"{where} has states too large for this machine") from None
        except Exception as error:  # onnxruntime's own errors share no base class
            reason = " ".join(str(error).split())
            raise ModelError(
                f"{where} cannot run on the {frame} samples of one frame: {reason}"
            ) from None
        if log_probs.shape[1] != 1:
            raise ModelError(
                f"{where} makes {log_probs.shape[1]} frames of the {frame} samples of one frame"
            )
        begin = _on_host(self.start())
        for name, value in _on_host(state).items():
            if value.shape != begin[name].shape:
                raise ModelError(f"{where} gives back state {name} in another size")

    def start(self, streams: int = 1) -> State:
        """The state of streams that have not begun: zeros."""
        return {
            name: np.zeros([streams if n is None else n for n in shape], np.float32)
            for name, shape in self._shapes.items()
        }

    def step(self, audio: Floats, state: State | None = None) -> tuple[Floats, State]:
        """Log-probabilities for a chunk of N streams.

        Args:
            audio: [N, S] float32 in [-1, 1], S a multiple of the frame, 0 allowed.
            state: what the step before gave for the same streams; None at the start.

        Returns:
            log-probabilities [N, S / frame, V], and the next state.

        Raises:
            ModelError: when shape or type are others, or the state is of other streams.
        """
        frame = self.bundle.settings.frame
        if audio.ndim != 2 or audio.dtype != np.float32 or audio.shape[1] % frame:
            raise ModelError(
                f"expected audio [streams, samples] in float32, samples a multiple of {frame}; "
                f"got {audio.dtype} {list(audio.shape)}"
            )
        state = state or self.start(len(audio))
        if not audio.size:
            return np.zeros((len(audio), 0, len(self.bundle.tokens)), np.float32), state
        samples = state["samples"]
        streams = len(samples) if isinstance(samples, np.ndarray) else samples.shape()[0]
        if streams != len(audio):
            raise ModelError(f"a state of {streams} streams does not fit {len(audio)} streams")
        if self._bind:
            return self._step_on_device(audio, state)
        log_probs, *after = self._session.run(self._outputs, {"audio": audio, **state})
        return log_probs, dict(zip(self._shapes, after, strict=True))

    def _step_on_device(self, audio: Floats, state: State) -> tuple[Floats, State]:
        """The same, with states that never leave the device."""
        binding = self._session.io_binding()
        binding.bind_cpu_input("audio", audio)
        for name, value in state.items():
            if isinstance(value, np.ndarray):
                value = onnxruntime.OrtValue.ortvalue_from_numpy(value, self.device, 0)
            binding.bind_ortvalue_input(name, value)
        log_probs, *after = self._outputs
        binding.bind_output(log_probs, "cpu")
        for name in after:
            binding.bind_output(name, self.device, 0)
        self._session.run_with_iobinding(binding)
        first, *rest = binding.get_outputs()
        return first.numpy(), dict(zip(self._shapes, rest, strict=True))

    def stack(self, states: Sequence[State]) -> State:
        """One state of many streams from states of few, in their order."""
        arrays = [_on_host(state) for state in states]
        return {
            name: np.concatenate([state[name] for state in arrays], axis=shape.index(None))
            for name, shape in self._shapes.items()
        }

    def split(self, state: State) -> list[State]:
        """The state of each stream by itself."""
        arrays = _on_host(state)
        parts = {
            name: np.split(arrays[name], arrays[name].shape[axis], axis)
            for name, axis in ((name, shape.index(None)) for name, shape in self._shapes.items())
        }
        return [
            dict(zip(parts, streams, strict=True)) for streams in zip(*parts.values(), strict=True)
        ]

    def state_to_bytes(self, state: State) -> bytes:
        """A state to keep or to send; `state_from_bytes` of the same model reads it."""
        file = io.BytesIO()
        identity = np.array(self.bundle.identity)
        np.savez(file, allow_pickle=False, identity=identity, **_on_host(state))
        return file.getvalue()

    def state_from_bytes(self, data: bytes) -> State:
        """Read what `state_to_bytes` wrote.

        Raises:
            ModelError: when it is damaged, or the state of another model.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                arrays = dict(archive)
            identity = str(arrays.pop("identity"))
        except Exception as error:  # damaged archives raise nearly anything
            raise ModelError(
                f"the saved state is damaged: {' '.join(str(error).split())}"
            ) from None
        if identity != self.bundle.identity or arrays.keys() != self._shapes.keys():
            raise ModelError(
                f"the saved state is of model {identity}, this is {self.bundle.identity}"
            )
        streams = len(np.atleast_1d(arrays["samples"]))
        for name, shape in self._shapes.items():
            expected, found = [streams if n is None else n for n in shape], arrays[name]
            if list(found.shape) != expected or found.dtype != np.float32:
                raise ModelError(
                    f"the saved state is damaged: {name} is {found.dtype} {list(found.shape)}, "
                    f"expected float32 {expected}"
                )
        return arrays


def _on_host(state: State) -> dict[str, Floats]:
    return {
        name: value if isinstance(value, np.ndarray) else value.numpy()
        for name, value in state.items()
    }


def _start(
    bundle: Bundle, device: str, threads: int, precision: str | None
) -> tuple[str, onnxruntime.InferenceSession]:
    """The device that is used, and a session on it."""
    if device == "auto":
        try:
            return _start(bundle, "cuda", threads, precision)
        except DeviceError:
            device = "cpu"
    if precision == "int8" and device == "cuda":
        raise DeviceError(f"int8 runs on the CPU only; use fp32 on {device}")
    path = bundle.file(_file(bundle, precision or _default_precision(bundle, device)).name)
    return device, open_session(path, device, threads)


def _default_precision(bundle: Bundle, device: str) -> str:
    return "int8" if bundle.settings.int8 and device == "cpu" else "fp32"


def _file(bundle: Bundle, precision: str) -> Path:
    """Where the model in a precision is."""
    name = {"fp32": bundle.settings.model, "int8": bundle.settings.int8}.get(precision)
    if name is None:
        raise ModelError(
            f"{bundle.path} has no model in {precision}; it can be fp32, and int8 where "
            "`asr export` wrote one"
        )
    return bundle.path / name
