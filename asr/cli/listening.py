"""What commands listen for: a grammar, a list of words, phrases, alternatives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.errors import GraphError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asr.decoding.grammar import Grammar
    from asr.decoding.phrases import Phrase
    from asr.recognizer import Recognizer
    from asr.stream import Stream

GrammarFile = Annotated[
    Path | None,
    typer.Option("--grammar", metavar="FILE.jsgf", help="What alone may be said, in JSGF."),
]
WordsOnly = Annotated[
    str | None,
    typer.Option(
        metavar="WORD,WORD,...",
        help="Words or phrases that alone may be said; or @FILE with one on each line.",
    ),
]
PhrasesFile = Annotated[
    Path | None,
    typer.Option(
        "--phrases",
        metavar="FILE",
        help="Words or phrases that are likelier than usual, one on each line.",
    ),
]
LanguageModel = Annotated[
    Path | None,
    typer.Option(
        "--lm",
        metavar="FILE",
        help="In place of the model's own: a search graph, as `asr graph` builds, or a language "
        "model in ONNX, as `asr lm export` writes, which decides between the graph's hypotheses.",
    ),
]
LexiconFile = Annotated[
    Path | None,
    typer.Option(
        "--lexicon",
        metavar="FILE",
        help="How words of the grammar or the phrases are said; see `asr lexicon`.",
    ),
]
NBest = Annotated[
    int, typer.Option("--nbest", min=1, max=100, help="Hypotheses of each segment, in JSON.")
]


@dataclass(frozen=True)
class Listening:
    """What streams listen for, compiled; processes can be given it.

    Attributes:
        grammar: what alone may be said; None if anything may be.
        phrases: what is likelier than usual.
        nbest: how many hypotheses a segment carries.
    """

    grammar: Grammar | None = None
    phrases: Sequence[Phrase] = ()
    nbest: int = 1

    def stream(self, recognizer: Recognizer) -> Stream:
        """Begin a stream that listens for this."""
        return recognizer.stream(grammar=self.grammar, phrases=self.phrases, nbest=self.nbest)


@dataclass(frozen=True)
class Choice:
    """The options of a command that say what it listens for, as they were given.

    Attributes:
        grammar: file of a grammar.
        words_only: words between commas, or the file that has them.
        phrases: file of phrases.
        lexicon: file of pronunciations.
        lm: file of a search graph or a language model.
        nbest: number of hypotheses.
    """

    grammar: Path | None
    words_only: str | None
    phrases: Path | None
    lexicon: Path | None
    lm: Path | None
    nbest: int

    def __post_init__(self) -> None:
        given = [self.grammar, self.words_only, self.lm]
        if sum(option is not None for option in given) > 1:
            raise UsageError("--grammar, --words-only and --lm exclude one another")
        if self.lexicon and not (self.grammar or self.words_only or self.phrases):
            raise UsageError("--lexicon goes with --grammar, --words-only or --phrases")

    def compiled(self, recognizer: Recognizer) -> Listening:
        """Compile what was chosen.

        Raises:
            GraphError: when a file cannot be read, or something is wrong in it.
        """
        from asr.decoding.lexicon import Lexicon

        grammar = None
        lexicon = Lexicon.load(self.lexicon) if self.lexicon else Lexicon({})
        if self.grammar is not None:
            grammar = recognizer.grammar(self.grammar, lexicon)
        elif self.words_only is not None:
            grammar = recognizer.word_list(_listed(self.words_only), lexicon)
        phrases: Sequence[Phrase] = ()
        if self.phrases is not None:
            from asr.decoding.phrases import read_phrases

            phrases = [phrase.said(lexicon) for phrase in read_phrases(self.phrases)]
        return Listening(grammar, phrases, self.nbest)


def _listed(words: str) -> list[str]:
    """The words of --words-only."""
    if not words.startswith("@"):
        return words.split(",")
    path = Path(words[1:])
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise GraphError(f"cannot read the words {path}: {error}") from None
    return [line for line in lines if line.strip()]
