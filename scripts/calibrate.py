"""Fits how sure a model is of its words, and what their times are off by.

    python scripts/calibrate.py confidence models/en-small data/dev.jsonl.gz --figure docs/confidence.svg
    python scripts/calibrate.py times models/en-small data/train.jsonl.gz
    python scripts/calibrate.py words models/en-small data/dev.jsonl.gz --aligner models/en-base

They print what the model's `config.json` takes and what it is worth; see docs/confidence.md.
"""  # noqa: E501

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pocketsphinx
import torch
import typer

import asr
from asr.decoding.confidence import features
from asr.evaluation.alignment import Aligner, Span, log_probabilities, pronunciations
from asr.evaluation.calibration import Reliability, fitted, held_out
from asr.evaluation.plots import reliability
from asr.evaluation.scoring import score
from asr.evaluation.utterances import read_set

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from asr.evaluation.utterances import Utterance

COLORS = {"ink": "#555", "muted": "#777", "accent": "#2f6f9f"}
"""In a figure that stands alone, on light or dark ground."""
QUIET = 0.12
"""Seconds of quiet that must be before and behind speech, for its edges to be clear."""
CONTRAST = 30.0
"""Decibels between quiet and speech at least."""
FRAME = 0.04
"""Seconds of a frame of every model."""
app = typer.Typer(add_completion=False, help=__doc__)
Model = Annotated[Path, typer.Argument(help="Model folder.")]
Manifest = Annotated[Path, typer.Argument(help="Manifest, as `asr prepare` writes.")]
Precision = Annotated[str, typer.Option(help="`fp32` or `int8`.")]


@app.command()
def confidence(
    model: Model,
    manifest: Manifest,
    precision: Precision = "fp32",
    figure: Annotated[Path | None, typer.Option(help="Write a reliability plot.")] = None,
) -> None:
    """Fit the weights of word confidences."""
    recognizer = asr.load(model, precision=precision)
    known, correct, speakers, raw = [], list[bool](), list[str](), list[float]()
    for utterance in read_set(manifest):
        found, hits, means = _words(recognizer, utterance)
        known.append(found)
        correct += hits
        speakers += [utterance.speaker] * len(hits)
        raw += means
    everything = np.concatenate(known)
    calibrated = held_out(everything, correct, speakers).tolist()
    for name, values in {"mean posterior": raw, "other half of the speakers": calibrated}.items():
        relied = Reliability.of(values, correct)
        print(f"{name}: calibration error {relied.error:.1%}, area under ROC {relied.area:.3f}")
    print(f"{len(correct)} words, {np.mean(correct):.1%} correct, {len(set(speakers))} speakers")
    weights = fitted(everything, correct)
    if recognizer.language_model:
        weights = _with_language_model(recognizer, weights, manifest)
    print('"word_confidence":', weights.round(4).tolist())
    if figure:
        drawn = reliability(Reliability.of(calibrated, correct).bins)
        text = re.sub(r"var\(--(\w+)\)", lambda name: COLORS[name[1]], drawn)
        figure.write_text(text, encoding="utf-8")


def _with_language_model(
    recognizer: asr.Recognizer, weights: NDArray[np.float64], manifest: Path
) -> NDArray[np.float64]:
    """The weights that suit the words on which the language model has decided.

    More of them are right than the search in the graph alone would have had: all logits are scaled
    and moved (Platt 1999).
    """
    options = replace(recognizer.options, word_confidence=tuple(weights.tolist()))
    search: Any = recognizer.search
    recognizer = replace(recognizer, search=replace(search, options=options))
    confidences, correct = list[float](), list[bool]()
    for utterance in read_set(manifest):
        stream = recognizer.stream()
        rate = recognizer.bundle.settings.sample_rate
        events = [*stream.push(utterance.samples(rate), rate), *stream.flush()]
        finals = [event.segment for event in events if isinstance(event, asr.Final)]
        heard = [word for segment in finals for word in segment.words]
        edits = score(utterance.text, " ".join(word.text for word in heard)).edits
        hits = {edit.heard: edit.hit for edit in edits if edit.heard is not None}
        confidences += [word.confidence for word in heard]
        correct += [hits[place] for place in range(len(heard))]
    error = Reliability.of(confidences, correct).error
    print(f"with the language model: {np.mean(correct):.1%} correct, calibration error {error:.1%}")
    likely = np.clip(confidences, 1e-6, 1 - 1e-6)
    move, scale = fitted(np.log(likely / (1 - likely))[:, None], correct)
    weights = scale * weights
    weights[0] += move
    return weights


def _words(
    recognizer: asr.Recognizer, utterance: Utterance
) -> tuple[NDArray[np.float64], list[bool], list[float]]:
    """Of each word heard: its features, whether it is right, the mean posterior of its tokens."""
    samples = utterance.samples(recognizer.bundle.settings.sample_rate)
    search: Any = recognizer.search
    _, state = search.step(log_probabilities(recognizer.acoustic, samples))
    end = search.finished(state)
    reading = end.reading
    known = features(reading)
    edits = score(utterance.text, " ".join(word.text for word in reading.words)).edits
    hits = {edit.heard: edit.hit for edit in edits if edit.heard is not None}
    correct = [hits[place] for place in range(len(reading.words))]
    return known, correct, [word.confidence for word in reading.words]


@app.command()
def times(
    model: Model,
    manifest: Manifest,
    count: Annotated[int, typer.Option(help="Utterances of each source.")] = 100,
) -> None:
    """Measure how far aligned words are from where speech begins and ends by its loudness."""
    torch.set_num_threads(1)
    recognizer = asr.load(model, graph=None, precision="fp32")
    sources: dict[str, list[Utterance]] = {}
    for utterance in read_set(manifest):
        sources.setdefault(utterance.source, []).append(utterance)
    rng = np.random.default_rng(0)
    chosen = [
        utterances[number]
        for utterances in sources.values()
        for number in rng.permutation(len(utterances))[:count]
    ]
    aligner = Aligner(recognizer.acoustic, pronunciations(each.text for each in chosen))
    off = np.array(list(filter(None, (_edges_off(aligner, each) for each in chosen))))
    print(f"{len(off)} of {len(chosen)} utterances have clear edges")
    for name, values in zip(("first start", "last end"), off.T, strict=True):
        middle = np.median(values)
        before, after = np.abs(values).mean(), np.abs(values - middle).mean()
        print(f"{name}: median {1000 * middle:.0f} ms, mean absolute {1000 * before:.0f} ms,"
              f" without the median {1000 * after:.0f} ms")  # fmt: skip


@app.command()
def words(
    model: Model,
    manifest: Manifest,
    aligner: Annotated[Path, typer.Option(help="Model folder of another model of phones.")],
    every: Annotated[int, typer.Option(help="Take each so many-th utterance.")] = 1,
) -> None:
    """Measure how far words are from alignments by another model, and by pocketsphinx."""
    torch.set_num_threads(1)
    recognizer, other = asr.load(model), asr.load(aligner, graph=None, precision="fp32")
    chosen = read_set(manifest)[::every]
    aligned = Aligner(other.acoustic, pronunciations(each.text for each in chosen))
    off: dict[str, list[tuple[float, float]]] = {aligner.name: [], "pocketsphinx": []}
    for utterance in chosen:
        samples = utterance.samples(recognizer.bundle.settings.sample_rate)
        _, state = recognizer.search.step(log_probabilities(recognizer.acoustic, samples))
        heard = recognizer.search.finish(state)
        edits = score(utterance.text, " ".join(word.text for word in heard)).edits
        references = aligned.spans(samples, utterance.text), _sphinx(samples, utterance.text)
        for name, spans in zip(off, references, strict=True):
            off[name] += [
                (heard[edit.heard].start * FRAME - spans[edit.said].start,
                 heard[edit.heard].end * FRAME - spans[edit.said].end)
                for edit in edits
                if edit.hit and spans and edit.heard is not None and edit.said is not None
            ]  # fmt: skip
    for name, pairs in off.items():
        for edge, values in zip(("starts", "ends"), np.array(pairs).T, strict=True):
            middle = np.median(values)
            print(f"{name}: {len(values)} {edge}, mean absolute {1000 * np.abs(values).mean():.0f}"
                  f" ms, median {1000 * middle:.0f} ms, without the median"
                  f" {1000 * np.abs(values - middle).mean():.0f} ms")  # fmt: skip


def _sphinx(samples: NDArray[np.float32], text: str) -> list[Span] | None:
    """Words by pocketsphinx's own model; None if it does not know one, or finds no way."""
    decoder = pocketsphinx.Decoder(lm=None, loglevel="FATAL")
    if not all(decoder.lookup_word(word) for word in text.split()):
        return None
    decoder.set_align_text(text)
    decoder.start_utt()
    decoder.process_raw((np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes(), full_utt=True)
    decoder.end_utt()
    found = [
        (part.word.partition("(")[0], Span(part.start_frame / 100, (part.end_frame + 1) / 100))
        for part in decoder.seg() or ()
        if part.word[0] not in "<[+"
    ]
    return [span for _, span in found] if [word for word, _ in found] == text.split() else None


def _edges_off(aligner: Aligner, utterance: Utterance) -> tuple[float, float] | None:
    """Seconds from the edges of speech to those of the alignment; None if they are not clear."""
    samples = utterance.samples(aligner.acoustic.bundle.settings.sample_rate)
    edges = _edges(samples, aligner.acoustic.bundle.settings.sample_rate)
    spans = aligner.spans(samples, utterance.text) if edges else None
    if not edges or not spans:
        return None
    return spans[0].start - edges[0], spans[-1].end - edges[1]


def _edges(samples: Sequence[float] | NDArray[np.float32], rate: int) -> tuple[float, float] | None:
    """Where sound rises out of the quiet and falls back, in seconds, each for 40 ms at least."""
    hop, window, least = rate // 200, rate // 40, 8
    if len(samples) < 2 * window:
        return None
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(samples), window)[::hop]
    loudness = np.maximum(10 * np.log10(np.square(frames).mean(axis=1) + 1e-10), -80.0)
    quiet, loud = np.percentile(loudness, [5, 95])
    sounds = loudness > quiet + max(8.0, 0.2 * (loud - quiet))
    steady = np.flatnonzero(np.convolve(sounds, np.ones(least), "valid") == least)
    if loud - quiet < CONTRAST or not len(steady):
        return None
    begin = (steady[0] * hop + window / 2) / rate
    end = ((steady[-1] + least - 1) * hop + window / 2) / rate
    clear = begin > QUIET and len(samples) / rate - end > QUIET
    return (float(begin), float(end)) if clear else None


if __name__ == "__main__":
    app()
