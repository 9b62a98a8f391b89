"""Sessions of onnxruntime, on the devices that Rill knows."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

import onnxruntime

from asr.bundle import MEND
from asr.errors import DeviceError, ModelError
from asr.operators import LIBRARY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""onnxruntime's name for each device."""
OPTIONS = {
    "cuda": {
        "use_tf32": "0",  # its 10 bits of mantissa move log-probabilities by up to 0.4
        "cudnn_conv_algo_search": "HEURISTIC",  # the default tries out all for each new shape
    },
}
"""onnxruntime's settings of a device, where its own are not right here."""

INSTALL = "pip install 'onnxruntime-gpu[cuda,cudnn]'"
"""What cuda needs, its libraries included."""


def open_session(
    model: Path | bytes, device: str = "cpu", threads: int = 1
) -> onnxruntime.InferenceSession:
    """Open a model.

    Args:
        model: the file, or what is in it.
        device: one of PROVIDERS.
        threads: that one run may use.

    Raises:
        DeviceError: when the device is unknown or not there.
        ModelError: when onnxruntime cannot load the model.
    """
    if device not in PROVIDERS:
        raise DeviceError(f"unknown device {device!r}; known are {', '.join(PROVIDERS)} and auto")
    there = onnxruntime.get_available_providers()
    if PROVIDERS[device] not in there:
        raise DeviceError(
            f"this onnxruntime has no {PROVIDERS[device]}, only {', '.join(there)}; for cuda "
            "install onnxruntime-gpu in place of onnxruntime: pip uninstall onnxruntime, then "
            f"{INSTALL}"
        )
    provider = PROVIDERS[device]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors come as exceptions
    options.enable_cpu_mem_arena = False  # it would keep all that the longest push has taken
    # idle threads of onnxruntime spin by default and burn a core between two chunks
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        if device == "cpu" and LIBRARY is not None:
            options.register_custom_ops_library(LIBRARY)
        with _libraries(device):
            session = onnxruntime.InferenceSession(
                model if isinstance(model, bytes) else str(model),
                options,
                providers=[(provider, OPTIONS.get(device, {}))],
                enable_fallback=0,
            )
    except Exception as error:  # onnxruntime's own errors share no base class
        reason = " ".join(str(error).split())
        name = "the model" if isinstance(model, bytes) else model
        raise ModelError(f"onnxruntime cannot load {name}: {reason}; {MEND}") from None
    if provider not in session.get_providers():
        raise DeviceError(
            f"onnxruntime could not start {provider} and would run on "
            f"{', '.join(session.get_providers())}; it needs an NVIDIA GPU with its driver, CUDA "
            f"and cuDNN: {INSTALL}"
        )
    return session


@contextlib.contextmanager
def _libraries(device: str) -> Iterator[None]:
    """With the libraries of a device that pip installed, which the system's loader does not find.

    What onnxruntime writes to the terminal about those that are missing is left out; what to do
    about it `open_session` says.
    """
    if device != "cuda":
        yield
        return
    with contextlib.redirect_stdout(io.StringIO()):
        if hasattr(onnxruntime, "preload_dlls"):  # onnxruntime 1.21
            onnxruntime.preload_dlls()
    onnxruntime.set_default_logger_severity(4)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(2)  # onnxruntime's own default
