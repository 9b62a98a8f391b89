"""The recurrent language model at work: what whole sentences are worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from asr.decoding.hashes import line_hashes
from asr.errors import ModelError
from asr.session import open_session

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float32]

FORMAT = 1
"""Version of the files."""
END, UNKNOWN = 0, 1
"""Ids: where a sentence begins or ends, and any word outside the vocabulary. Words follow."""
INPUTS = {"word", "state", "place", "following"}


@dataclass(frozen=True)
class Read:
    """The words that were read.

    Attributes:
        word: the id of the last.
        state: [1, H], before that one.
    """

    word: int
    state: Floats


class LanguageModel:
    """A GRU that reads sentences word by word and gives each word a score.

    A score is about the logarithm of the word's probability after all words before it; see
    `asr.nn.language`.
    """

    def __init__(self, model: Path | bytes) -> None:
        """Open a model.

        Args:
            model: an ONNX file that `asr.export.language` made, or what is in it.

        Raises:
            ModelError: when it cannot be read, or is something else.
        """
        name = "the language model" if isinstance(model, bytes) else f"the language model {model}"
        try:
            self._session = open_session(model)
            inputs = {node.name: node.shape for node in self._session.get_inputs()}
            facts = self._session.get_modelmeta().custom_metadata_map
        except (ModelError, UnicodeDecodeError) as error:
            raise ModelError(f"cannot read {name}: {error}") from None
        if inputs.keys() != INPUTS or facts.get("format") != str(FORMAT):
            raise ModelError(f"{name} is none of format {FORMAT}; export it again")
        self._size = int(inputs["state"][1])
        hashes = line_hashes(np.frombuffer(f"{facts.get('words', '')}\n".encode(), np.uint8))
        self._order = np.argsort(hashes).astype(np.int32)
        self._hashes = hashes[self._order]

    def ids(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The ids of words, which are given by their hashes (`asr.decoding.hashes`)."""
        place = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        known = self._hashes[place] == hashes
        return np.where(known, self._order[place] + (UNKNOWN + 1), UNKNOWN)

    @property
    def begun(self) -> Read:
        """Where a sentence begins."""
        return Read(END, np.zeros((1, self._size), np.float32))

    def read(self, before: Read, sentence: Iterable[int]) -> Read:
        """Reads on by the words of a sentence."""
        for word in sentence:
            state, _ = self._run([before.word], before.state, [], [])
            before = Read(word, state)
        return before

    def scores(
        self, sentences: Sequence[Sequence[int]], *, before: Read | None = None, over: bool = True
    ) -> NDArray[np.float64]:
        """What sentences are worth.

        What several of them begin with is read once.

        Args:
            sentences: ids, any number in each.
            before: what was read before them all; that counts for nothing here.
            over: they end here, which is a part of what they are worth.

        Returns:
            [sentences], in nats.
        """
        before = before or self.begun
        total = np.zeros(len(sentences))
        end = (END,) if over else ()
        whole = [(before.word, *sentence, *end) for sentence in sentences]
        rows = np.zeros(len(sentences), np.int64)
        states = before.state
        depth = 0
        while going := [one for one, ids in enumerate(whole) if depth + 1 < len(ids)]:
            heard = [(int(rows[one]), whole[one][depth]) for one in going]
            unique = {key: place for place, key in enumerate(dict.fromkeys(heard))}
            places, words = np.array(list(unique)).T
            rows[going] = [unique[key] for key in heard]
            following = [whole[one][depth + 1] for one in going]
            states, score = self._run(words, states[places], rows[going], following)
            total[going] += score
            depth += 1
        return total

    def _run(
        self, words: ArrayLike, states: Floats, places: ArrayLike, following: ArrayLike
    ) -> tuple[Floats, Floats]:
        """Next states; and scores of what follows some of them. See `asr.export.language`."""
        ids = {"word": words, "place": places, "following": following}
        inputs = {name: np.asarray(each, np.int64) for name, each in ids.items()}
        states, scores = self._session.run(["next_state", "score"], {**inputs, "state": states})
        return states, scores
