"""`asr lexicon`: how words are said."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.recognizers import Model, model_folder
from asr.errors import AudioError, GraphError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from asr.decoding.graph import Graph
    from asr.decoding.lexicon import Pronunciation

Words = Annotated[list[str], typer.Argument(metavar="WORD...")]
User = Annotated[
    Path | None, typer.Option("--lexicon", "-l", help="A lexicon of your own, asked first.")
]

LONGEST = 10
"""Blocks of a second that the recording of a word may have."""

lexicon = typer.Typer(
    name="lexicon", help="Show how words are said, add words to a lexicon, try them on audio."
)


@lexicon.command()
def show(words: Words, user: User = None, model: Model = None) -> None:
    """Show how words are said and who says so: the model's graph, the CMU dictionary, espeak-ng."""
    graph = _graph(model)
    for word in words:
        for source, phones in _ways(word.lower(), user, graph):
            typer.echo(f"{word.lower()}\t{' '.join(phones)}\t{source}")


@lexicon.command()
def add(
    file: Annotated[Path, typer.Argument(help="The lexicon; it is made if it is not there.")],
    word: Annotated[str, typer.Argument()],
    phones: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PHONE...]", help="If not given, those that `show` shows."),
    ] = None,
    model: Model = None,
) -> None:
    """Add a word to a lexicon, or one more way to say it."""
    from asr.decoding.lexicon import WORD, Lexicon

    word = word.lower()
    if not WORD.fullmatch(word):
        raise UsageError(f"expected a word of a to z and apostrophe, got {word!r}")
    if phones:
        said = list(Lexicon.from_text(f"{word} {' '.join(phones)}")[word])
    else:
        said = [way for _, way in _ways(word, None, _graph(model))]
    entries = dict(Lexicon.load(file)) if file.exists() else {}
    entries[word] = tuple(dict.fromkeys([*entries.get(word, ()), *said]))
    try:
        Lexicon(entries).save(file)
    except OSError as error:
        raise GraphError(f"cannot write {file}: {error.strerror}") from error


@lexicon.command()
def test(
    word: Annotated[str, typer.Argument()],
    audio: Annotated[Path, typer.Argument(help="A recording of the word and nothing else.")],
    user: User = None,
    model: Model = None,
) -> None:
    """Show how well a recording fits each way to say a word.

    That is how much less likely its phones are than those that the model hears, in nats per phone:
    0 if they are the same, below 1 if it is near, 3 and more if something else is said.
    """
    import math

    from asr.decoding.fit import distance, heard
    from asr.decoding.lexicon import IDS, TOKENS

    log_probs = _log_probs(audio, model)
    typer.echo(f"heard\t{' '.join(TOKENS[token] for token in heard(log_probs))}")
    for source, phones in _ways(word.lower(), user, _graph(model)):
        far = distance(log_probs, [IDS[phone] for phone in phones])
        shown = f"{far:.2f}" if math.isfinite(far) else "too short"
        typer.echo(f"{shown}\t{' '.join(phones)}\t{source}")


def _ways(word: str, user: Path | None, graph: Graph) -> Iterator[tuple[str, Pronunciation]]:
    """The pronunciations of a word, each with its source; of the sources the first that has it."""
    from asr.decoding.grammar import Known
    from asr.decoding.lexicon import Lexicon, look_up

    if user is not None and (ways := Lexicon.load(user).get(word)):
        source = str(user)
    elif ways := Known(graph.vocabulary).get(word):
        source = "graph"
    else:
        ways = Lexicon.pronounce([word]).get(word, ())
        source = "CMU dictionary" if look_up([word])[word] else "espeak-ng"
    yield from ((source, way) for way in ways)


def _graph(model: Path | None) -> Graph:
    from asr.bundle import Bundle
    from asr.decoding.graph import Graph

    return Graph.load(Bundle.open(model_folder(model)).graph("dictation"))


def _log_probs(audio: Path, model: Path | None) -> NDArray[np.float32]:
    """What the model makes of a recording, [T, V]."""
    import numpy as np

    import asr
    from asr.audio import read

    recognizer = asr.load(model_folder(model), graph=None)
    settings = recognizer.bundle.settings
    blocks = list(islice(read(audio, settings.sample_rate), LONGEST + 1))
    if len(blocks) > LONGEST:
        raise AudioError(f"expected a recording of one word, {audio} is longer than {LONGEST} s")
    samples = np.concatenate(blocks)
    behind = (settings.delay + settings.tail) * settings.frame
    padded = np.pad(samples, (0, -len(samples) % settings.frame + behind))
    log_probs: NDArray[np.float32] = recognizer.acoustic.step(padded[None], None)[0][0]
    return log_probs[settings.delay :]
