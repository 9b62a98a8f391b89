"""How often grammars reject what was said, and accept what was not; docs/grammars.md has figures.

    python scripts/commands.py models/en-small DEV.jsonl.gz
    python scripts/commands.py models/en-small TEST.jsonl.gz --source fsdd --words zero,one,two
    python scripts/commands.py models/en-small TEST.jsonl.gz --source an4 --lm an4.graph

The first finds `doubt` for the model: of the transcripts of each source half become a grammar, in
which the other half is not. The others count word errors where all that was said is allowed.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import jiwer
import numpy as np
import typer
from numpy.typing import NDArray

import asr
from asr.decoding import jsgf
from asr.decoding.grammar import Grammar
from asr.evaluation.utterances import Utterance, read_set
from asr.task import Task

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
HOME = b"""#JSGF V1.0;
grammar home;
public <setLight> = [please] turn [the] <room> light <state>;
public <setTimer> = set [the] (alarm | timer) (for | to) <number> (minutes | hours);
public <play> = play [some] (music | jazz | rock) | stop [the music] | volume (up | down);
<room> = (kitchen | living room) {room=kitchen} | hall {room=hall};
<state> = on {state=on} | off {state=off};
<number> = one | two | three | four | five | six | seven | eight | nine | ten | eleven | twelve;
"""


@dataclass(frozen=True)
class Trial:
    """An utterance against a grammar."""

    inside: bool
    accepted: bool
    right: bool
    deficit: float


def log_probs(recognizer: asr.Recognizer, utterance: Utterance) -> NDArray[np.float32]:
    """What the acoustic model says, [T, V]."""
    settings = recognizer.bundle.settings
    samples = utterance.samples(settings.sample_rate)
    behind = -len(samples) % settings.frame + (settings.delay + settings.tail) * settings.frame
    found, _ = recognizer.acoustic.step(np.pad(samples, (0, behind))[None])
    return found[0, settings.delay :]


def trial(task: Task, heard: NDArray[np.float32], text: str, inside: bool) -> Trial:
    """Read an utterance as one segment, whatever pauses it has."""
    search: Any = task.search
    _, state = search.step(heard)
    verdict = task.read(state)
    said = " ".join(word.text for word in verdict.words)
    spans = search.finished(state).reading.spans
    deficit = spans.deficit(heard) if spans.tokens else np.inf
    return Trial(inside, verdict.accepted, said == text, deficit)


def grammars(
    recognizer: asr.Recognizer, utterances: list[Utterance]
) -> Iterator[tuple[str, Grammar, set[str], list[Utterance]]]:
    """Grammars, what of the utterances is in them, and which utterances to try."""
    by_source = defaultdict(list)
    for utterance in utterances:
        by_source[utterance.source].append(utterance)
    for source, those in by_source.items():
        texts = sorted({utterance.text for utterance in those})
        random.Random(1).shuffle(texts)
        half = texts[: len(texts) // 2]
        yield f"{len(half)} sentences of {source}", recognizer.word_list(half), set(half), those
    yield "ten digits", recognizer.word_list(DIGITS), set(DIGITS), utterances
    yield "ten commands", recognizer.word_list(COMMANDS), set(COMMANDS), utterances
    home = Grammar.compile(jsgf.parse(HOME, "home"), recognizer.lexicon)
    yield "a home", home, set(), utterances


def doubt(trials: list[Trial]) -> tuple[float, float]:
    """Logistic regression of inside on deficit, both sides of equal weight (Newton's method)."""
    known = [each for each in trials if np.isfinite(each.deficit)]
    inside = np.array([each.inside and each.right for each in known], float)
    deficit = np.minimum([each.deficit for each in known], 10.0)
    weight = np.where(inside == 1, 1 / inside.sum(), 1 / (1 - inside).sum())
    features = np.stack([np.ones_like(deficit), deficit], axis=1)
    theta = np.zeros(2)
    for _ in range(50):
        likely = 1 / (1 + np.exp(-features @ theta))
        curve = (features * (weight * likely * (1 - likely))[:, None]).T @ features
        theta += np.linalg.solve(curve, features.T @ (weight * (inside - likely)))
    return -theta[0] / theta[1], -theta[1]


def main(
    model: Path,
    manifest: Annotated[Path, typer.Argument(metavar="SET")],
    source: Annotated[str | None, typer.Option(help="Only utterances of this source.")] = None,
    words: Annotated[str | None, typer.Option(help="Words that alone may be said.")] = None,
    lm: Annotated[Path | None, typer.Option(help="Search graph.")] = None,
    options: Annotated[str, typer.Option(help="Other settings of the search, as JSON.")] = "{}",
) -> None:
    """Measure."""
    recognizer = asr.load(model, graph=lm or "dictation")
    changed = replace(recognizer.options, **json.loads(options))
    search: Any = recognizer.search
    search = replace(search, options=changed)
    recognizer = replace(recognizer, search=search, options=changed)
    utterances = [each for each in read_set(manifest) if source in (None, each.source)]
    if words or lm:
        grammar = recognizer.word_list(words.split(",")) if words else None
        print_errors(recognizer, grammar, utterances)
    else:
        print_trials(recognizer, utterances)


def print_errors(
    recognizer: asr.Recognizer, grammar: Grammar | None, utterances: list[Utterance]
) -> None:
    """Word errors and rejections of whole streams."""
    said, rejected = [], 0
    for utterance in utterances:
        stream = recognizer.stream(grammar=grammar)
        rate = recognizer.bundle.settings.sample_rate
        events = stream.push(utterance.samples(rate), rate) + stream.flush()
        rejected += any(isinstance(event, asr.Rejected) for event in events)
        said.append(" ".join(e.segment.text for e in events if isinstance(e, asr.Final)))
    texts = [utterance.text for utterance in utterances]
    wrong = sum(a != b for a, b in zip(texts, said, strict=True))
    print(f"{len(texts)} utterances, {wrong} wrong, of these {rejected} rejected")
    print(f"word error rate {jiwer.wer(texts, said):.2%}")


def print_trials(recognizer: asr.Recognizer, utterances: list[Utterance]) -> None:
    """A row for each grammar, and what `doubt` should be."""
    heard = {each.id: log_probs(recognizer, each) for each in utterances}
    every = []
    print("grammar | inside | rejected | accepted as something else | outside | accepted")
    for name, grammar, inside, those in grammars(recognizer, utterances):
        task = recognizer.task(grammar, (), 1)
        trials = [trial(task, heard[each.id], each.text, each.text in inside) for each in those]
        allowed = [each for each in trials if each.inside]
        other = [each for each in trials if not each.inside]
        lost = sum(not each.accepted for each in allowed)
        wrong = sum(each.accepted and not each.right for each in allowed)
        false = sum(each.accepted for each in other)
        print(f"{name} | {len(allowed)} | {lost} | {wrong} | {len(other)} | {false}")
        every += trials if allowed else []
    middle, slope = doubt(every)
    print(f"doubt: {middle:.2f}, {slope:.2f}")


if __name__ == "__main__":
    typer.run(main)
