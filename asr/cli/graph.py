"""`asr graph`: build a search graph from text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.errors import UsageError

if TYPE_CHECKING:
    from asr.decoding.estimate import Text


def graph(
    output: Annotated[Path, typer.Argument(help="The graph, such as models/NAME/dictation.graph.")],
    text: Annotated[
        list[str],
        typer.Option(
            metavar="FILE[=WEIGHT]",
            help="Text, a sentence a line, or .jsonl with a field `text`; and how likely what is "
            "spoken is of this kind. May be repeated.",
        ),
    ],
    words: Annotated[int, typer.Option(min=1, help="Size of the vocabulary.")] = 65_000,
    ngrams: Annotated[int, typer.Option(min=1, help="N-grams to keep.")] = 900_000,
) -> None:
    """Build a search graph from text: vocabulary, pronunciations, trigrams.

    Needs KenLM's lmplz, and espeak-ng for words outside the CMU dictionary.
    """
    from asr.decoding.build import build
    from asr.decoding.estimate import estimate
    from asr.decoding.lexicon import Lexicon

    model = estimate([_text(option) for option in text], words, ngrams, typer.echo)
    typer.echo("looking up pronunciations")
    lexicon = Lexicon.pronounce(model.words[2:])
    typer.echo("building the graph")
    built = build(lexicon, model)
    built.save(output)
    listed = ", ".join(f"{len(order.keys)} {n}-grams" for n, order in enumerate(model.orders, 1))
    typer.echo(f"{output}: {listed}, {output.stat().st_size / 1e6:.1f} MB")


def _text(option: str) -> Text:
    from asr.decoding.estimate import Text

    path, _, weight = option.partition("=")
    try:
        text = Text(Path(path), float(weight or 1))
    except ValueError:
        raise UsageError(f"expected --text FILE or FILE=WEIGHT, got {option!r}") from None
    if not text.weight > 0:
        raise UsageError(f"the weight of a text must be positive, got {option!r}")
    return text
