"""Live sound from a microphone: a callback, a bounded queue, and blocks to iterate over."""

from __future__ import annotations

import math
import queue
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.audio import sanitise
from asr.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType, TracebackType

    from numpy.typing import NDArray

BLOCK_SECONDS = 0.04
QUEUE_SECONDS = 30.0
"""How far the consumer may fall behind before samples are dropped."""
PATIENCE = 5.0
"""Seconds without any block after which a device counts as unplugged."""


@dataclass(frozen=True)
class Device:
    """A device that can record.

    Attributes:
        number: by which PortAudio knows it.
        name: as the system calls it.
        channels: how many it records at most.
        rate: its default sampling rate.
        default: whether the system records from it when nothing else is said.
    """

    number: int
    name: str
    channels: int
    rate: int
    default: bool = False

    def __str__(self) -> str:
        mark = "*" if self.default else " "
        return f"{mark}{self.number:3} {self.name} ({self.channels} channels, {self.rate} Hz)"


def devices() -> list[Device]:
    """All devices that can record.

    Raises:
        DeviceError: when sounddevice or PortAudio is not installed.
    """
    sounddevice = _sounddevice()
    default = sounddevice.default.device[0]
    return [
        Device(
            number=facts["index"],
            name=facts["name"],
            channels=facts["max_input_channels"],
            rate=round(facts["default_samplerate"]),
            default=facts["index"] == default,
        )
        for facts in sounddevice.query_devices()
        if facts["max_input_channels"] > 0
    ]


def choose(devices: list[Device], wanted: str | None = None) -> Device:
    """Find a device by its number, its name, or a part of its name in any case.

    Args:
        devices: to choose from.
        wanted: None for the default device.

    Raises:
        DeviceError: when there is none, or more than one; it lists them.
    """
    if not devices:
        raise DeviceError("there is no microphone; connect one, then see `asr mic --list-devices`")
    if wanted is None:
        chosen = [device for device in devices if device.default] or devices[:1]
    elif wanted.isdecimal():
        chosen = [device for device in devices if device.number == int(wanted)]
    else:
        part = wanted.casefold()
        chosen = [device for device in devices if device.name.casefold() == part] or [
            device for device in devices if part in device.name.casefold()
        ]
    if len(chosen) != 1:
        listed = "; ".join(f"{device.number} {device.name}" for device in chosen or devices)
        problem = f"{len(chosen)} microphones match" if chosen else "no microphone is"
        raise DeviceError(f"{problem} {wanted!r}; choose a number or more of a name: {listed}")
    return chosen[0]


class Microphone:
    """Records from a device at its own rate, from `with` on until `stop`.

    Attributes:
        device: what it records from.
        dropped: samples that were lost because the consumer, or this machine, was too slow.
    """

    def __init__(self, device: Device) -> None:
        self.device, self.dropped = device, 0
        self._end = math.inf
        size = round(device.rate * BLOCK_SECONDS)
        self._queue: queue.Queue[NDArray[np.float32]] = queue.Queue(
            round(QUEUE_SECONDS / BLOCK_SECONDS)
        )
        sounddevice = _sounddevice()
        self._error: type[Exception] = sounddevice.PortAudioError
        try:
            self._stream = sounddevice.InputStream(
                samplerate=device.rate,
                blocksize=size,
                device=device.number,
                channels=_channels(sounddevice, device),
                dtype="float32",
                callback=self._receive,
            )
        except sounddevice.PortAudioError as error:
            raise DeviceError(f"cannot open microphone {device.name}: {error}") from None

    def __enter__(self) -> Microphone:
        try:
            self._stream.start()
        except self._error as error:
            raise DeviceError(f"cannot start microphone {self.device.name}: {error}") from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close(ignore_errors=True)

    def stop(self) -> None:
        """Record no more than what was said until now; `blocks` ends behind it."""
        self._end = time.monotonic() + self._stream.latency

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """What is recorded, mono, at the rate of the device; all that waits is one block.

        Raises:
            DeviceError: when the device is gone.
        """
        heard = time.monotonic()
        while True:
            try:
                waiting = [self._queue.get(timeout=BLOCK_SECONDS)]
            except queue.Empty:
                if time.monotonic() > self._end:
                    return
                if not self._stream.active or time.monotonic() - heard > PATIENCE:
                    raise DeviceError(
                        f"microphone {self.device.name} gives no more sound; is it unplugged?"
                    ) from None
                continue
            while not self._queue.empty():
                waiting.append(self._queue.get_nowait())
            heard = time.monotonic()
            yield sanitise(np.concatenate(waiting))

    def _receive(self, block: NDArray[np.float32], frames: int, _: object, status: Any) -> None:
        """Called by PortAudio's thread, [frames, channels]."""
        if time.monotonic() > self._end:
            return
        if status.input_overflow:
            self.dropped += frames
        try:
            self._queue.put_nowait(block.copy())
        except queue.Full:
            self.dropped += frames


def _channels(sounddevice: ModuleType, device: Device) -> int:
    """One where the device can, else as many as it has."""
    try:
        sounddevice.check_input_settings(device.number, channels=1, samplerate=device.rate)
    except sounddevice.PortAudioError:
        return device.channels
    return 1


def _sounddevice() -> ModuleType:
    try:
        import sounddevice
    except ImportError:
        raise DeviceError("the microphone needs sounddevice: pip install 'rill-asr[mic]'") from None
    except OSError:
        raise DeviceError(
            "the microphone needs PortAudio: install the system's package, "
            "such as libportaudio2 on Debian and Ubuntu"
        ) from None
    module: ModuleType = sounddevice
    return module
