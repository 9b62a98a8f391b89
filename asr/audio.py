"""Any recording or byte stream to mono float32 at the model's rate."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from asr.errors import AudioError
from asr.resampler import Resampler, checked_rate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import av
    from av.container import InputContainer
    from numpy.typing import ArrayLike, NDArray

    Audio = NDArray[np.float32]

MOST_CHANNELS = 64
SHORTFALL = 0.5
"""Seconds that a file may hold less than its header says."""
WITHOUT_LENGTH = frozenset({"aac", "ac3", "amr", "amrnb", "amrwb", "eac3"})
"""Formats, as FFmpeg names them, whose files do not say how long they are: FFmpeg guesses."""

logger = logging.getLogger(__name__)


def read(source: str | os.PathLike[str] | BinaryIO, rate: int = 16_000) -> Iterator[Audio]:
    """Decode a recording of any format that FFmpeg knows, the sound of a video included.

    A file that is damaged gives what can be decoded, and a warning in the log.

    Args:
        source: path, or file that is open for reading in binary mode.
        rate: samples per second to give.

    Yields:
        blocks of about a second, [n] each, in [-1, 1].

    Raises:
        AudioError: when there is no such file, or no sound in it.
    """
    name = _name(source)
    with _open(source, name) as container:
        if not container.streams.audio:
            raise AudioError(f"{name} has no audio stream")
        yield from _blocks(_resampled(_frames(container, name), rate), rate)


def read_pcm(file: BinaryIO, rate_in: float, rate: int = 16_000) -> Iterator[Audio]:
    """Read raw samples, as they come: mono, 16 bits, signed, little-endian.

    Args:
        file: open for reading in binary mode.
        rate_in: samples per second that the file holds.
        rate: samples per second to give.

    Yields:
        blocks of at most a second, [n] each, in [-1, 1].

    Raises:
        AudioError: when the rate is no rate.
    """
    rate_in = checked_rate(rate_in)
    yield from _resampled(((audio, rate_in) for audio in _samples(file, 2 * rate_in)), rate)


def duration(path: str | os.PathLike[str]) -> float | None:
    """Seconds that a recording lasts by its header; None when it does not say.

    Raises:
        AudioError: when there is no such file, or no media in it.
    """
    with _open(path, _name(path)) as container:
        return _duration(container)


def sanitise(samples: ArrayLike) -> Audio:
    """Bring samples into the form that all of Rill works on.

    Channels are averaged, samples that are not finite become silence, and what is out of range is
    clipped.

    Args:
        samples: [n] or [n, channels]; floats in [-1, 1], or uint8, int16 or int32 of full scale.

    Returns:
        [n], in [-1, 1].

    Raises:
        AudioError: when they are no audio.
    """
    try:
        audio = np.asarray(samples)
    except ValueError as error:
        raise AudioError(f"expected samples [n] or [n, channels], got {error}") from None
    if audio.ndim not in (1, 2):
        raise AudioError(f"expected samples [n] or [n, channels], got shape {list(audio.shape)}")
    if audio.ndim == 2 and not 1 <= audio.shape[1] <= MOST_CHANNELS:
        raise AudioError(
            f"expected [n, channels] with 1 to {MOST_CHANNELS} channels, got {list(audio.shape)}"
        )
    audio = _as_float(audio)
    if audio.size and not np.abs(audio).max() <= 1:  # or there is a NaN
        audio = np.nan_to_num(audio, nan=0, posinf=0, neginf=0).clip(-1, 1)
    if audio.ndim == 2:
        audio = audio.mean(axis=1, dtype=np.float64)
    return np.array(audio, np.float32)


def _as_float(audio: NDArray[Any]) -> NDArray[Any]:
    kind, size = audio.dtype.kind, audio.dtype.itemsize
    if kind == "f":
        return audio
    floats: NDArray[Any]
    if kind == "u" and size == 1:
        floats = np.asarray(audio, np.float32) / 128 - 1
    elif kind == "i" and size in (2, 4):
        floats = np.asarray(audio, np.float64) / (1 << 8 * size - 1)
    else:
        raise AudioError(f"expected samples of uint8, int16, int32 or float, got {audio.dtype}")
    return floats


def _resampled(blocks: Iterable[tuple[Audio, int]], rate: int) -> Iterator[Audio]:
    """Bring blocks, each with its own rate, to one rate."""
    resampler: Resampler | None = None
    for audio, rate_in in blocks:
        if resampler is None or resampler.rate_in != rate_in:
            if resampler is not None:
                yield resampler.flush()
            resampler = Resampler(rate_in, rate)
        yield resampler.step(audio)
    if resampler is not None:
        yield resampler.flush()


def _blocks(pieces: Iterable[Audio], size: int) -> Iterator[Audio]:
    """Join pieces of any length to blocks of `size` samples or more; the last is the rest."""
    gathered: list[Audio] = []
    count = 0
    for piece in pieces:
        gathered.append(piece)
        count += len(piece)
        if count >= size:
            yield np.concatenate(gathered)
            gathered, count = [], 0
    if count:
        yield np.concatenate(gathered)


def _samples(file: BinaryIO, size: int) -> Iterator[Audio]:
    """Samples of 16 bits, as soon as they can be read."""
    read_some = getattr(file, "read1", file.read)
    odd = b""
    while data := read_some(size):
        data = odd + data
        whole = len(data) // 2 * 2
        odd = data[whole:]
        yield sanitise(np.frombuffer(data[:whole], "<i2"))
    if odd:
        logger.warning("raw samples: half a sample at the end was left out")


def _name(source: object) -> str:
    path = source if isinstance(source, (str, os.PathLike)) else getattr(source, "name", None)
    return os.fspath(path) if isinstance(path, (str, os.PathLike)) else "the audio"


def _open(source: str | os.PathLike[str] | BinaryIO, name: str) -> InputContainer:
    import av

    target: str | BinaryIO
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        try:
            with path.open("rb") as file:
                if path.is_file() and not file.read(1):
                    raise AudioError(f"{name} is empty")
        except OSError as error:
            raise AudioError(f"cannot read {name}: {error.strerror}") from None
        target = f"file:{path}"
    else:
        target = source
    try:
        return av.open(target, "r", metadata_errors="ignore")
    except av.FFmpegError as error:
        raise AudioError(
            f"cannot read {name}: it is no audio that FFmpeg knows, or it is damaged "
            f"({error.strerror})"
        ) from None


def _duration(container: InputContainer) -> float | None:
    return None if container.duration is None else container.duration / 1_000_000


def _frames(container: InputContainer, name: str) -> Iterator[tuple[Audio, int]]:
    """Decode the first audio stream: mono samples and their rate."""
    import av

    seconds, damage = 0.0, ""
    try:
        for packet in container.demux(container.streams.audio[0]):
            frames, problem = _decode(packet)
            damage = damage or (problem and f"{problem} at {seconds:.1f} s")
            for frame in frames:
                seconds += frame.samples / frame.sample_rate
                yield _mono(frame), frame.sample_rate
    except (av.FFmpegError, OSError) as error:
        damage = damage or f"{error.strerror} at {seconds:.1f} s"
    if not seconds:
        raise AudioError(f"nothing could be decoded of {name}{damage and f': {damage}'}")
    guessed = container.format.name in WITHOUT_LENGTH
    promised = 0.0 if guessed else _duration(container) or 0.0
    if not damage and promised > seconds + SHORTFALL:
        damage = f"it ends after {seconds:.1f} s, its header says {promised:.1f} s"
    if damage:
        logger.warning("%s is damaged: %s; what could be decoded was used", name, damage)


def _decode(packet: av.Packet[av.AudioStream]) -> tuple[list[av.AudioFrame], str]:
    """The frames of a packet, and what is wrong with it."""
    import av

    try:
        return packet.decode(), ""
    except av.InvalidDataError as error:
        return [], str(error.strerror)


def _mono(frame: av.AudioFrame) -> Audio:
    """[samples] of a frame."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    return sanitise(samples.T)
