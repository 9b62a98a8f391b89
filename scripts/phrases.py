"""What phrases find, and what they break; docs/phrases.md has figures.

    python scripts/phrases.py models/en-small data/dev.jsonl.gz data/train.jsonl.gz

Phrases are words of SET of four letters or more that no transcript of TRAIN has, and as many words
of that kind that nobody says, from the model's graph. Each utterance is searched whole.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from commands import log_probs
from numpy.typing import NDArray

import asr
from asr.decoding.phrases import UNKNOWN, Phrase
from asr.decoding.search import GraphSearch
from asr.evaluation.scoring import Errors, score
from asr.evaluation.utterances import Utterance, read_set

COUNTS = (20, 100, 1000)
BOOSTS = (2.0, 3.0, 4.0, 6.0, 8.0)
UNKNOWN_BOOSTS = (2.0, 4.0, 5.0)
LETTERS = 4

Heard = list[tuple[Utterance, NDArray[np.float32]]]


def words(utterances: list[Utterance]) -> set[str]:
    """All that are said."""
    return {word for utterance in utterances for word in utterance.text.split()}


def search(recognizer: asr.Recognizer, heard: Heard, phrases: list[Phrase]) -> list[str]:
    """What each utterance is taken for."""
    task = recognizer.task(None, phrases, 1)
    texts = []
    for _, sounds in heard:
        _, state = task.search.step(sounds)
        texts.append(" ".join(word.text for word in task.read(state).words))
    return texts


def row(heard: Heard, texts: list[str], names: set[str]) -> str:
    """Phrases found, false alarms, word errors, and those of utterances without a phrase."""
    found = said = alarms = 0
    every, without = Errors(), Errors()
    for (utterance, _), text in zip(heard, texts, strict=True):
        scored = score(utterance.text, text)
        spoken, taken = utterance.text.split(), text.split()
        hits = [edit.said for edit in scored.edits if edit.hit and edit.said is not None]
        here = sum(word in names for word in spoken)
        right = sum(spoken[place] in names for place in hits)
        said, found = said + here, found + right
        alarms += sum(word in names for word in taken) - right
        every += scored.words
        without += Errors() if here else scored.words
    return f"{found} of {said} | {alarms} | {every.rate:.2%} | {without.rate:.2%} |"


def unknown(recognizer: asr.Recognizer, heard: Heard, known: set[str]) -> None:
    """What `<unk>` stands for, by its boost."""
    print("| boost of <unk> | written | for unknown words | for right words | word errors |")
    print("|---|---|---|---|---|")
    plain = search(recognizer, heard, [])
    for boost in UNKNOWN_BOOSTS:
        texts = search(recognizer, heard, [Phrase(UNKNOWN, boost)])
        every, rightly, lost = Errors(), 0, 0
        for (utterance, _), text, before in zip(heard, texts, plain, strict=True):
            scored = score(utterance.text, text)
            said, taken = utterance.text.split(), text.split()
            right = {edit.said for edit in score(utterance.text, before).edits if edit.hit}
            for edit in scored.edits:
                if edit.heard is not None and taken[edit.heard] == UNKNOWN:
                    rightly += edit.said is not None and said[edit.said] not in known
                    lost += edit.said is not None and edit.said in right
            every += scored.words
        written = sum(text.split().count(UNKNOWN) for text in texts)
        print(f"| {boost:g} | {written} | {rightly} | {lost} | {every.rate:.2%} |", flush=True)


def main(
    model: Path,
    manifest: Annotated[Path, typer.Argument(metavar="SET")],
    train: Annotated[Path, typer.Argument(help="Manifest of what the model has heard.")],
) -> None:
    """Measure."""
    recognizer = asr.load(model, language_model=False)
    utterances = read_set(manifest)
    heard = [(each, log_probs(recognizer, each)) for each in utterances]
    trained = words(read_set(train))
    assert isinstance(recognizer.search, GraphSearch)
    graph = {line.partition(" ")[0] for line in recognizer.search.graph.vocabulary.lines}
    long = {word for word in graph | words(utterances) if len(word) >= LETTERS} - trained
    said = sorted(long & words(utterances))
    unsaid = sorted(long - words(utterances))
    rng = random.Random(1)
    rng.shuffle(said)
    rng.shuffle(unsaid)
    print(f"{len(said)} new words are said, {len(set(said) - graph)} unknown to the graph")
    print("| phrases, said | boost | found | false alarms | word errors | where none is said |")
    print("|---|---|---|---|---|---|")
    plain = search(recognizer, heard, [])
    for count in COUNTS:
        spoken = said[: count // 2]
        names = {*spoken, *unsaid[: count - len(spoken)]}
        title = f"{count:,}, {len(spoken)}"
        print(f"| {title} | none |", row(heard, plain, names))
        for boost in BOOSTS:
            texts = search(recognizer, heard, [Phrase(name, boost) for name in sorted(names)])
            print(f"| | {boost:g} |", row(heard, texts, names), flush=True)
    unknown(recognizer, heard, graph)


if __name__ == "__main__":
    typer.run(main)
