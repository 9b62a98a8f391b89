"""One system, measured in a process of its own: its memory and its start-up are nobody else's.

    python worker.py '{"system": "rill", "model": "models/en-small", ...}'

It tells when it is ready, then answers each line of JSON on standard input with one on standard
output. It is run as a file and imports no more than a program that uses the system would, so that a
peer does not carry Rill's libraries.
"""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import cycle, islice, zip_longest
from pathlib import Path

sys.path[0] = ""  # the folder of this file, whose modules are no top-level ones

from typing import TYPE_CHECKING, Any, Protocol  # noqa: E402

import numpy as np  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

RATE = 16_000
NEVER = 1e6
"""Seconds after which a stream would end."""


class Clock:
    """CPU seconds of this process within some calls."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._running = False

    def watch(self, thing: Any, *methods: str) -> None:
        """Count the calls of some methods; those that they make of each other count once."""
        for name in methods:
            object.__setattr__(thing, name, self._watched(getattr(thing, name)))

    def _watched(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            if self._running:
                return method(*arguments, **named)
            self._running, began = True, time.process_time()
            try:
                return method(*arguments, **named)
            finally:
                self.seconds += time.process_time() - began
                self._running = False

        return timed


class System(Protocol):
    """A recogniser under test.

    Attributes:
        parts: time in parts of it that can be told apart.
        parallel: whether it can hear several streams at once.
    """

    parts: dict[str, Clock]
    parallel: bool

    def open(self, whole: bool, /) -> Any:
        """A new stream; `whole` when all of it comes in one push."""

    def push(self, stream: Any, samples: Samples, /) -> None:
        """Go on, up to what a live display would show."""

    def finish(self, stream: Any, /) -> str:
        """The words, when no more comes."""


class Rill:
    """This package; as for the others, a clip is one utterance, whatever pauses it has."""

    parallel = True

    def __init__(self, model: str, precision: str, graph: str | None, device: str) -> None:
        import asr

        self._recognizer = asr.load(model, precision=precision, graph=graph, device=device)
        self._rules = asr.EndpointRules(NEVER, NEVER, NEVER)
        self._texts: dict[int, list[str]] = {}
        self.parts = {"acoustic": Clock(), "search": Clock()}
        self.parts["acoustic"].watch(self._recognizer.acoustic, "step")
        self.parts["search"].watch(self._recognizer.search, "step", "stable", "finish")

    def open(self, _whole: bool, /) -> Any:
        """A stream."""
        stream = self._recognizer.stream(self._rules)
        self._texts[id(stream)] = []
        return stream

    def push(self, stream: Any, samples: Samples) -> None:
        """Take the events."""
        self._take(stream, stream.push(samples, RATE))

    def finish(self, stream: Any) -> str:
        """The text of all finals."""
        self._take(stream, stream.flush())
        return " ".join(self._texts.pop(id(stream)))

    def _take(self, stream: Any, events: Any) -> None:
        from asr.results import Final

        self._texts[id(stream)] += [e.segment.text for e in events if isinstance(e, Final)]


class Sherpa:
    """sherpa-onnx on the twin of the model, with the same graph where there is one."""

    parallel = True

    def __init__(self, model: str, file: str, graph: str, padding: float, most: int) -> None:
        import sherpa_onnx

        self._recognizer = sherpa_onnx.OnlineRecognizer.from_zipformer2_ctc(
            tokens=f"{model}/tokens.txt",
            model=f"{model}/{file}",
            num_threads=1,
            ctc_graph=graph and f"{model}/{graph}",
            ctc_max_active=most,
        )
        self._padding = np.zeros(round(padding * RATE), np.float32)
        self._words: list[str] = []
        if graph:
            lines = Path(model, "words.txt").read_text(encoding="utf-8").splitlines()
            self._words = [line.split()[0] for line in lines]
        self.parts: dict[str, Clock] = {}

    def open(self, _whole: bool, /) -> Any:
        """A stream."""
        return self._recognizer.create_stream()

    def push(self, stream: Any, samples: Samples) -> None:
        """Decode every chunk that is full, and look at the words."""
        stream.accept_waveform(RATE, samples)
        self._text(stream)

    def finish(self, stream: Any) -> str:
        """The words, after the silence that the model needs behind its end."""
        stream.accept_waveform(RATE, self._padding)
        stream.input_finished()
        return self._text(stream)

    def _text(self, stream: Any) -> str:
        while self._recognizer.is_ready(stream):
            self._recognizer.decode_stream(stream)
        heard = self._recognizer.get_result_all(stream)
        return " ".join([self._words[i] for i in heard.words] if self._words else heard.tokens)


class Pocketsphinx:
    """pocketsphinx with the model that comes in its package."""

    parallel = False

    def __init__(self) -> None:
        import pocketsphinx

        self._decoder = pocketsphinx.Decoder(samprate=RATE, loglevel="FATAL")
        self.parts: dict[str, Clock] = {}

    def open(self, whole: bool, /) -> bool:
        """The only stream; a whole one is normalised over all of it."""
        self._decoder.start_utt()
        return whole

    def push(self, stream: bool, samples: Samples) -> None:
        """Decode, and look at the words."""
        pcm = (np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes()
        self._decoder.process_raw(pcm, full_utt=stream)
        self._decoder.hyp()

    def finish(self, _stream: bool) -> str:
        """The words."""
        self._decoder.end_utt()
        best = self._decoder.hyp()
        return best.hypstr if best else ""


class Batch:
    """Streams as one batch through Rill's acoustic model, their states where it computes."""

    def __init__(self, model: str, precision: str, device: str) -> None:
        from asr.acoustic import AcousticModel
        from asr.bundle import Bundle

        self._acoustic = AcousticModel(Bundle.open(model), device, precision=precision)
        self._frame = self._acoustic.bundle.settings.frame

    def run(self, streams: int, chunk: int, steps: int) -> dict[str, Any]:
        """Seconds of each of so many steps of `chunk` samples, whole frames, with noise."""
        rng = np.random.default_rng(0)
        audio = 0.1 * rng.standard_normal((streams, chunk), np.float32)
        _, state = self._acoustic.step(audio)
        times = []
        cpu = time.process_time()
        for _ in range(steps):
            began = time.perf_counter()
            _, state = self._acoustic.step(audio, state)
            times.append(time.perf_counter() - began)
        return {"times": times, "cpu": time.process_time() - cpu}


SYSTEMS: dict[str, Callable[..., System]] = {
    "rill": Rill,
    "sherpa-onnx": Sherpa,
    "pocketsphinx": Pocketsphinx,
}


def hear(system: System, clip: str, chunk: int | None) -> dict[str, Any]:
    """Stream a clip, or push it whole; seconds of all of it and of each push."""
    samples = np.load(clip)
    times = []
    for clock in system.parts.values():
        clock.seconds = 0.0
    wall, cpu = time.perf_counter(), time.process_time()
    stream = system.open(chunk is None)
    for piece in _pieces(samples, chunk):
        began = time.perf_counter()
        system.push(stream, piece)
        times.append(time.perf_counter() - began)
    text = system.finish(stream)
    return {
        "text": text,
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "times": times,
        "parts": {name: clock.seconds for name, clock in system.parts.items()},
    }


def _pieces(samples: Samples, chunk: int | None) -> Iterator[Samples]:
    size = chunk or len(samples)
    for begin in range(0, len(samples), size):
        yield samples[begin : begin + size]


def memory_of_streams(
    system: System, clips: list[str], chunk: int | None, count: int
) -> dict[str, float | None]:
    """Private bytes that each of `count` streams takes, beside the first.

    Each hears one of the clips, the next one the next, in turns; at the end of the clip it is
    still open.
    """
    if not system.parallel:
        return {"bytes": None}

    def opened(paths: list[str]) -> list[Any]:
        streams = [system.open(False) for _ in paths]
        pieces = (_pieces(np.load(path, mmap_mode="r"), chunk) for path in paths)
        for turn in zip_longest(*pieces):
            for stream, piece in zip(streams, turn, strict=True):
                if piece is not None:
                    system.push(stream, piece)
        return streams

    first = opened(clips[:1])
    before = memory()["private"]
    others = opened([*islice(cycle(clips), count)])
    taken = memory()["private"] - before
    for stream in first + others:
        system.finish(stream)
    return {"bytes": taken / count}


def memory() -> dict[str, float]:
    """Bytes: resident now and at most, and the part of it now that is not of files."""
    wanted = {"VmRSS": "resident", "VmHWM": "peak", "RssAnon": "private"}
    found = {}
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name in wanted:
            found[wanted[name]] = 1024.0 * int(value.split()[0])
    return found


def main() -> None:
    """Load, then answer."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints

    def answer(facts: dict[str, Any]) -> None:
        answers.write(json.dumps(facts) + "\n")
        answers.flush()

    options = json.loads(sys.argv[1])
    name = options.pop("system")
    try:
        system: Any = Batch(**options) if name == "batch" else SYSTEMS[name](**options)
        answer({"ready": time.monotonic(), "cpu": time.process_time()})
        for line in sys.stdin:
            request = json.loads(line)
            what = request.pop("what")
            if what == "hear":
                answer(hear(system, **request))
            elif what == "streams":
                answer(memory_of_streams(system, **request))
            elif what == "batch":
                answer(system.run(**request))
            else:
                answer(memory())
    except Exception as error:  # it is for the process that asked to say what went wrong
        answer({"error": type(error).__name__, "reason": str(error)})
        sys.exit(1)


if __name__ == "__main__":
    main()
