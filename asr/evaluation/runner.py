"""All utterances of a set, streamed in several processes, clean and with noise."""

from __future__ import annotations

import itertools
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

import torch

import asr
from asr.decoding.lexicon import Lexicon
from asr.errors import AsrError, AudioError
from asr.evaluation.alignment import Aligner, Span, pronunciations
from asr.evaluation.listening import Hearing, hear
from asr.evaluation.noise import Noise
from asr.evaluation.scoring import Errors, Score, oracle, score
from asr.evaluation.timing import Timing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from asr.evaluation.utterances import Utterance


@dataclass(frozen=True)
class Conditions:
    """How a set is heard.

    Attributes:
        model: folder.
        graph: name of its search graph, or the file of another.
        aligner: folder of the model that aligns.
        chunk: seconds that are pushed at once.
        noise: folder of noise clips; None for none.
        snrs: signal-to-noise ratios in dB, each a further pass over the set.
        jobs: processes.
        nbest: how many alternatives the oracle chooses from; with 1 there is no choice.
        language_model: see `asr.load`.
    """

    model: Path
    graph: str | Path
    aligner: Path
    chunk: float
    noise: Path | None = None
    snrs: tuple[float, ...] = ()
    jobs: int = 1
    nbest: int = 1
    language_model: Path | bool = True


@dataclass(frozen=True)
class Outcome:
    """What became of an utterance.

    Attributes:
        utterance: what was said.
        snr: ratio at which noise was added, in dB; None for none.
        hearing: what was heard, and when.
        score: the two compared.
        spans: where the words lie; None when it could not be aligned, or with noise.
    """

    utterance: Utterance
    snr: float | None
    hearing: Hearing
    score: Score
    spans: tuple[Span, ...] | None

    @property
    def oracle(self) -> Errors:
        """The errors of the words if the best of the alternatives had been chosen."""
        return oracle(self.utterance.text, self.hearing.alternatives)

    @property
    def timing(self) -> Timing:
        """How late its words came."""
        return Timing.of(self.hearing, self.score.edits, self.spans)


@dataclass(frozen=True)
class Failure:
    """An utterance whose recording could not be read, and why."""

    utterance: Utterance
    reason: str


class Worker:
    """Hears and aligns, in one process."""

    def __init__(self, conditions: Conditions, lexicon: Lexicon) -> None:
        """Raises AsrError when a model cannot be loaded, or there is no noise."""
        self.conditions = conditions
        self.recognizer = asr.load(
            conditions.model, graph=conditions.graph, language_model=conditions.language_model
        )
        self.rate = self.recognizer.bundle.settings.sample_rate
        acoustic = self.recognizer.acoustic
        if conditions.aligner != conditions.model:
            acoustic = asr.load(conditions.aligner, graph=None).acoustic
        if acoustic.bundle.settings.sample_rate != self.rate:
            raise AsrError(f"{conditions.aligner} hears another sampling rate than the model")
        self.aligner = Aligner(acoustic, lexicon)
        self.noise = Noise(conditions.noise, self.rate) if conditions.noise else None

    def run(self, utterance: Utterance, snr: float | None) -> Outcome | Failure:
        """Hear an utterance, with noise where a ratio is given."""
        try:
            samples = utterance.samples(self.rate)
        except AudioError as error:
            return Failure(utterance, str(error))
        spans = None
        if snr is None:
            spans = self.aligner.spans(samples, utterance.text)
        elif self.noise:
            samples = self.noise.add(samples, utterance.id, snr)
        conditions = self.conditions
        hearing = hear(self.recognizer, samples, conditions.chunk, conditions.nbest)
        return Outcome(utterance, snr, hearing, score(utterance.text, hearing.text), spans)


def run(utterances: list[Utterance], conditions: Conditions) -> Iterator[Outcome | Failure]:
    """Hear every utterance, then again with noise at each ratio, in this order.

    Raises:
        AsrError: when a model or the noise is not there, or a process was killed.
    """
    lexicon = pronunciations(utterance.text for utterance in utterances)
    Worker(conditions, lexicon)  # what is wrong with the models is told here, once
    passes = itertools.product([None, *conditions.snrs], utterances)
    work = [(utterance, snr) for snr, utterance in passes]
    jobs = min(conditions.jobs, len(work))
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _begin, (conditions, lexicon))
    try:
        yield from pool.map(_work, work, chunksize=4)
    except BrokenProcessPool:
        raise AsrError(
            "a process was killed, as happens when memory runs out; try a smaller --jobs"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


_worker: Worker


def _begin(conditions: Conditions, lexicon: Lexicon) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _worker = Worker(conditions, lexicon)


def _work(task: tuple[Utterance, float | None]) -> Outcome | Failure:
    return _worker.run(*task)
