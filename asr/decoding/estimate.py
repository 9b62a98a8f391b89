"""Language models from text: vocabulary, counts by KenLM's lmplz, mixture, pruning."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from asr.decoding.lexicon import WORD, cmu_dictionary
from asr.decoding.ngram import NgramModel, mix, normalised, prune, read_arpa
from asr.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

ORDER = 3


@dataclass(frozen=True)
class Text:
    """Text to learn from.

    Attributes:
        path: a sentence a line, words as the lexicon spells them; or `.jsonl` with a field "text".
        weight: how likely what is spoken is of this kind, against the other texts.
    """

    path: Path
    weight: float

    def sentences(self) -> Iterator[str]:
        """Gives the sentences in lower case.

        Raises:
            GraphError: the file cannot be read.
        """
        try:
            with self.path.open(encoding="utf-8") as file:
                for line in file:
                    text = json.loads(line)["text"] if self.path.suffix == ".jsonl" else line
                    yield text.lower().strip()
        except (OSError, ValueError, KeyError) as error:
            raise GraphError(f"cannot read sentences from {self.path}: {error!r}") from error


def estimate(
    texts: Sequence[Text], words: int, ngrams: int, report: Callable[[str], None]
) -> NgramModel:
    """Estimates a trigram model of several kinds of text.

    Each kind has a model of its own; these are mixed, then pruned to a size, so that the kinds
    compete for it. Once pruned, most of what a Kneser-Ney model backs off to is used in contexts
    that it was not made for; so bigrams come from a bigram model, not from the trigram model's
    lower order.

    Args:
        texts: at least one.
        words: size of the vocabulary.
        ngrams: how many n-grams of all orders to keep.
        report: is told in words what is being done.

    Raises:
        GraphError: a text cannot be read, lmplz is missing or fails.
    """
    report("counting words")
    counts = [Counter(w for line in text.sentences() for w in line.split()) for text in texts]
    vocabulary = choose_words(counts, [text.weight for text in texts], words)
    if not vocabulary:
        raise GraphError(f"no words of a to z in {', '.join(str(text.path) for text in texts)}")
    models = []
    for text in texts:
        report(f"counting n-grams in {text.path}")
        models.append(_model(text, vocabulary))
    report("mixing and pruning")
    frequency = np.array([_frequency(count, vocabulary) for count in counts])
    weights = np.array([text.weight for text in texts])
    weights /= weights.sum()
    mixed = mix(models, weights.tolist(), frequency)
    return prune(mixed, ngrams, weights @ frequency)


def choose_words(
    counts: Sequence[Counter[str]], weights: Sequence[float], size: int
) -> tuple[str, ...]:
    """Chooses the words of highest mean relative frequency.

    A word that begins with an apostrophe must be in the CMU dictionary; others were quoted.
    """
    dictionary = cmu_dictionary({word for count in counts for word in count if word[0] == "'"})
    mean: dict[str, float] = {}
    for count, weight in zip(counts, weights, strict=True):
        share = weight / max(1, count.total())
        for word, times in count.items():
            if WORD.fullmatch(word) and (word[0] != "'" or word in dictionary):
                mean[word] = mean.get(word, 0.0) + times * share
    return tuple(sorted(mean, key=mean.__getitem__, reverse=True)[:size])


def _frequency(count: Counter[str], words: Sequence[str]) -> NDArray[np.float64]:
    """The relative frequency of <s> (1: every sentence has it), </s>, and of the words."""
    times = np.array([count[word] for word in words]) + 0.5
    return np.concatenate([[1.0, 1.0], times / times.sum()])


def _model(text: Text, words: Sequence[str]) -> NgramModel:
    """A model of one text: unigrams and bigrams of a bigram model, trigrams seen twice."""
    with TemporaryDirectory() as folder:
        lower = _lmplz(text, words, ["0"] * (ORDER - 1), Path(folder))
        upper = _lmplz(text, words, ["0"] * (ORDER - 1) + ["1"], Path(folder))
    return normalised(NgramModel(lower.words, (*lower.orders, upper.orders[-1])))


def _lmplz(text: Text, words: Sequence[str], prune: Sequence[str], folder: Path) -> NgramModel:
    """Runs lmplz; `prune` holds, for each order, the count up to which n-grams are dropped."""
    program = shutil.which("lmplz")
    if program is None:
        raise GraphError(
            "KenLM's lmplz is missing: unpack the package that `pip download --no-deps "
            "--no-binary kenlm kenlm` gives, run `cmake -B build && make -C build lmplz` in it "
            "(needs cmake and boost), and put build/bin on the PATH"
        )
    vocabulary, arpa = folder / "words.txt", folder / "model.arpa"
    vocabulary.write_text("\n".join(words), encoding="utf-8")
    command = [
        program, "--order", str(len(prune)), "--prune", *prune, "--discount_fallback",
        "--limit_vocab_file", str(vocabulary), "--arpa", str(arpa),
        "--memory", "30%", "--temp_prefix", f"{folder}/",
    ]  # fmt: skip
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log, encoding="utf-8") as run,
        contextlib.suppress(BrokenPipeError),  # it has failed, and its log says why
    ):
        assert run.stdin is not None
        run.stdin.writelines(f"{sentence}\n" for sentence in text.sentences())
    if run.returncode:
        said = (folder / "log").read_text(errors="replace").strip().splitlines()
        raise GraphError(f"lmplz failed on {text.path}: {' '.join(said[-2:])}")
    return read_arpa(arpa, words)
