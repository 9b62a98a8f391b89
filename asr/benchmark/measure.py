"""What a model costs: every system hears every clip, in turns, each in its own process."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

import asr
from asr.benchmark import instructions, peers
from asr.benchmark.process import Process
from asr.bundle import Bundle
from asr.errors import AsrError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asr.benchmark.clips import Clip
    from asr.evaluation.scoring import Errors

FURTHER = 64
"""Streams beside the first, over which what a stream takes is averaged."""
PEER_CHUNKS = (160, None)
"""Milliseconds pushed at once at which others are measured beside Rill, where Rill is."""
STEPS = 50
"""Steps of a batch in one round."""


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        model: folder.
        precisions: of Rill, `fp32` or `int8`; the last is the one that others are compared with.
        chunks: milliseconds pushed at once; None for all of a clip.
        graph: name of the search graph; None for bare tokens.
        device: that Rill's model runs on.
        beside: other systems.
        rounds: how often everything is heard; of each clip and chunk the median counts.
        instructions: how to count them, as `instructions.method` says; None if not.
    """

    model: Path
    precisions: tuple[str, ...]
    chunks: tuple[int | None, ...]
    graph: str | None = None
    device: str = "cpu"
    beside: tuple[str, ...] = ()
    rounds: int = 3
    instructions: str | None = None


@dataclass(frozen=True)
class Row:
    """A system, given chunks of one length.

    Attributes:
        system: `rill`, or one of those beside it.
        precision: of its model; None where that is its own affair.
        chunk_ms: milliseconds pushed at once; None for all of a clip.
        real_time_factor: seconds for a second of audio.
        cpu: CPU seconds for a second of audio, those of all its threads.
        parts: seconds of `cpu` in parts that can be told apart.
        chunk_median: seconds that a chunk takes, the median.
        chunk_99: 99 % of the chunks take less.
        start_up: seconds from the start of the interpreter until it could take audio.
        start_up_cpu: CPU seconds of that.
        peak: most bytes that were resident.
        resident: bytes resident at the end.
        private: of these, bytes that are not of files.
        stream: bytes for each further stream; None where one process hears one stream.
        instructions: for a second of audio; None if not counted.
        errors: of words, if all clips have transcripts.
    """

    system: str
    precision: str | None
    chunk_ms: int | None
    real_time_factor: float
    cpu: float
    parts: dict[str, float]
    chunk_median: float
    chunk_99: float
    start_up: float
    start_up_cpu: float
    peak: float
    resident: float
    private: float
    stream: float | None
    instructions: float | None
    errors: Errors | None


@dataclass(frozen=True)
class BatchRow:
    """Streams as one batch through the acoustic model.

    Attributes:
        precision: of the model.
        device: that it runs on.
        streams: how many.
        chunk_ms: milliseconds of each in a step.
        step_median: seconds that a step takes, the median.
        step_99: 99 % of the steps take less.
        speed: seconds of audio, of all streams together, that a second of steps gets through.
        cpu: CPU seconds for a second of audio of one stream.
    """

    precision: str
    device: str
    streams: int
    chunk_ms: int
    step_median: float
    step_99: float
    speed: float
    cpu: float


def measure(
    plan: Plan, clips: Sequence[Clip], tell: Callable[[str], None] = lambda _: None
) -> list[Row]:
    """Measure speed, memory, start-up and errors; Rill first, then those beside it.

    Args:
        plan: what to measure.
        clips: at least one.
        tell: called with what is being done.

    Raises:
        AsrError: when something cannot be loaded, or is not installed.
    """
    for precision in plan.precisions:  # unpacks the graph, and says here what is wrong
        bundle = asr.load(
            plan.model, device=plan.device, precision=precision, graph=plan.graph
        ).bundle
    with tempfile.TemporaryDirectory(prefix="rill-bench-") as temporary, ExitStack() as stack:
        folder = Path(temporary)
        paths = _write(clips, folder)
        trials = list(_trials(plan, bundle, folder, tell))
        tell("starting")
        for trial in trials:
            trial.start(stack, plan.rounds)
        for trial in trials:
            trial.hear(paths[0])  # what is done at a first call does not count
        for turn in range(plan.rounds):
            for number, path in enumerate(paths):
                tell(f"round {turn + 1} of {plan.rounds}, clip {number + 1} of {len(paths)}")
                for trial in trials:
                    trial.heard[number].append(trial.hear(path))
        for trial in trials:
            tell(f"memory of {trial.options['system']}")
            trial.remember(paths)
        if plan.instructions:
            middle = sorted(range(len(clips)), key=lambda i: len(clips[i].samples))[len(clips) // 2]
            seconds = len(clips[middle].samples) / bundle.settings.sample_rate
            _count(trials, paths[middle], seconds, plan.instructions, tell)
    return [trial.row(clips, bundle.settings.sample_rate) for trial in trials]


def _write(clips: Sequence[Clip], folder: Path) -> list[str]:
    paths = [str(folder / f"{number}.npy") for number in range(len(clips))]
    for clip, path in zip(clips, paths, strict=True):
        np.save(path, clip.samples)
    return paths


def _trials(
    plan: Plan, bundle: Bundle, folder: Path, tell: Callable[[str], None]
) -> Iterator[_Trial]:
    """Every system at every length of chunks."""
    rate = bundle.settings.sample_rate
    for precision in plan.precisions:
        options = {
            "system": "rill",
            "model": str(plan.model),
            "precision": precision,
            "graph": plan.graph,
            "device": plan.device,
        }
        for chunk in plan.chunks:
            yield _Trial(options, precision, chunk, rate)
    for name in plan.beside:
        tell(f"preparing {name}")
        compared = plan.precisions[-1]
        options = peers.options(name, bundle, compared, plan.graph, folder)
        for chunk in plan.chunks:
            if chunk in PEER_CHUNKS:
                yield _Trial(options, compared if name == "sherpa-onnx" else None, chunk, rate)


class _Trial:
    """A system at a length of chunks, in its process."""

    def __init__(
        self, options: dict[str, Any], precision: str | None, chunk_ms: int | None, rate: int
    ) -> None:
        self.options, self.precision, self.chunk_ms = options, precision, chunk_ms
        self.chunk = None if chunk_ms is None else chunk_ms * rate // 1000
        self.heard: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
        self.started: list[Process] = []
        self.memory: dict[str, float] = {}
        self.stream: float | None = None
        self.instructions: float | None = None

    def start(self, stack: ExitStack, times: int) -> None:
        for _ in range(times - 1):
            with Process(self.options) as process:
                self.started.append(process)
        self._process = stack.enter_context(Process(self.options))
        self.started.append(self._process)

    def hear(self, path: str) -> dict[str, Any]:
        return self._process.ask("hear", clip=path, chunk=self.chunk)

    def remember(self, paths: list[str]) -> None:
        self.memory = self._process.ask("memory")
        answer = self._process.ask("streams", clips=paths, chunk=self.chunk, count=FURTHER)
        self.stream = answer["bytes"]

    def row(self, clips: Sequence[Clip], rate: int) -> Row:
        seconds = sum(len(clip.samples) for clip in clips) / rate
        rounds = [self.heard[number] for number in range(len(clips))]
        times = np.concatenate([np.median([h["times"] for h in heard], axis=0) for heard in rounds])

        def taken(value: Callable[[dict[str, Any]], float]) -> float:
            return sum(median(map(value, heard)) for heard in rounds) / seconds

        return Row(
            system=self.options["system"],
            precision=self.precision,
            chunk_ms=self.chunk_ms,
            real_time_factor=taken(lambda h: h["wall"]),
            cpu=taken(lambda h: h["cpu"]),
            parts={
                name: taken(lambda h, name=name: h["parts"][name])  # type: ignore[misc]
                for name in rounds[0][0]["parts"]
            },
            chunk_median=float(np.median(times)),
            chunk_99=float(np.percentile(times, 99)),
            start_up=median(process.start_up for process in self.started),
            start_up_cpu=median(process.start_up_cpu for process in self.started),
            **self.memory,
            stream=self.stream,
            instructions=self.instructions,
            errors=_errors(clips, [heard[0]["text"] for heard in rounds]),
        )


def _count(
    trials: Sequence[_Trial], path: str, seconds: float, how: str, tell: Callable[[str], None]
) -> None:
    """Count the instructions of all trials; those of one system share processes."""
    groups: dict[int, list[_Trial]] = {}
    for trial in trials:
        groups.setdefault(id(trial.options), []).append(trial)
    for group in groups.values():
        options = group[0].options
        tell(f"counting the instructions of {options['system']} with {how}")
        counts = instructions.per_second(options, path, seconds, [t.chunk for t in group], how)
        for trial in group:
            trial.instructions = counts[trial.chunk]


def _errors(clips: Sequence[Clip], heard: Sequence[str]) -> Errors | None:
    """Errors of words in all clips; None where not every clip has a transcript."""
    if any(clip.text is None for clip in clips):
        return None
    try:
        from asr.evaluation.scoring import Errors, score
    except ModuleNotFoundError as error:
        raise AsrError(
            f"word errors need {error.name}: install it with pip install 'rill-asr[eval]', or "
            "move the transcripts away"
        ) from None
    scores = (score(c.text, h) for c, h in zip(clips, heard, strict=True) if c.text is not None)
    return sum((one.words for one in scores), Errors())


def measure_batches(plan: Plan, streams: Sequence[int]) -> list[BatchRow]:
    """Measure steps of N streams at once, of noise, through the acoustic model alone.

    Raises:
        AsrError: when the model cannot be loaded.
    """
    settings = Bundle.open(plan.model).settings
    rows = []
    for precision in plan.precisions:
        options = {
            "system": "batch",
            "model": str(plan.model),
            "precision": precision,
            "device": plan.device,
        }
        with Process(options) as process:
            cases = [(count, chunk) for count in streams for chunk in plan.chunks if chunk]
            taken: dict[tuple[int, int], list[dict[str, Any]]] = {case: [] for case in cases}
            for _ in range(plan.rounds):
                for count, chunk in cases:
                    samples = chunk * settings.sample_rate // 1000
                    answer = process.ask("batch", streams=count, chunk=samples, steps=STEPS)
                    taken[count, chunk].append(answer)
        rows += [_batch_row(plan.device, precision, *case, taken[case]) for case in cases]
    return rows


def _batch_row(
    device: str, precision: str, streams: int, chunk_ms: int, rounds: list[dict[str, Any]]
) -> BatchRow:
    times = np.median([one["times"] for one in rounds], axis=0)
    audio = streams * chunk_ms / 1000
    return BatchRow(
        precision,
        device,
        streams,
        chunk_ms,
        step_median=float(np.median(times)),
        step_99=float(np.percentile(times, 99)),
        speed=audio * len(times) / float(times.sum()),
        cpu=median(one["cpu"] for one in rounds) / len(times) / audio,
    )
