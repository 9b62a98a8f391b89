"""The recurrent language model at work: what whole sentences are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from asr.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Sentence = tuple[int, ...]

FORMAT = 1
"""Version of the files."""
END, UNKNOWN = 0, 1
"""Ids: where a sentence begins or ends, and any word outside the vocabulary. Words follow."""
INPUTS = {"word", "state", "place", "following"}


class LanguageModel:
    """A GRU that reads sentences word by word and gives each word a score.

    A score is about the logarithm of the word's probability after all words before it; see
    `asr.nn.language`.
    """

    def __init__(self, content: bytes, name: str) -> None:
        """Open a model.

        Args:
            content: an ONNX file that `asr.export.language` made.
            name: what errors call it.

        Raises:
            ModelError: when it is something else.
        """
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
            inputs = {node.name: node.shape for node in self._session.get_inputs()}
            facts = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:  # onnxruntime has no common class of its errors
            raise ModelError(f"cannot read the language model {name}: {error}") from None
        if inputs.keys() != INPUTS or facts.get("format") != str(FORMAT):
            raise ModelError(f"{name} is no language model of format {FORMAT}; export it again")
        self._size = int(inputs["state"][1])
        words = facts.get("words", "").split("\n")
        self._ids = {word: number for number, word in enumerate(words, UNKNOWN + 1)}

    @classmethod
    def load(cls, path: Path) -> LanguageModel:
        """Read a file.

        Raises:
            ModelError: when it cannot be read, or is something else.
        """
        try:
            return cls(path.read_bytes(), str(path))
        except OSError as error:
            raise ModelError(f"cannot read the language model {path}: {error.strerror}") from None

    def ids(self, words: Iterable[str]) -> Sentence:
        """The ids of words."""
        return tuple(self._ids.get(word, UNKNOWN) for word in words)

    def scores(self, sentences: Sequence[Sentence], *, over: bool = True) -> NDArray[np.float64]:
        """What sentences are worth.

        What several of them begin with is read once.

        Args:
            sentences: ids, any number in each.
            over: they end here, which is a part of what they are worth.

        Returns:
            [sentences], in nats.
        """
        total = np.zeros(len(sentences))
        end = (END,) if over else ()
        whole = [(END, *sentence, *end) for sentence in sentences]
        rows = np.zeros(len(sentences), np.int64)
        states = np.zeros((1, self._size), np.float32)
        depth = 0
        while going := [one for one, ids in enumerate(whole) if depth + 1 < len(ids)]:
            read = [(int(rows[one]), whole[one][depth]) for one in going]
            unique = {key: place for place, key in enumerate(dict.fromkeys(read))}
            before, words = np.array(list(unique)).T
            rows[going] = [unique[key] for key in read]
            states, score = self._session.run(
                ["next_state", "score"],
                {
                    "word": words,
                    "state": states[before],
                    "place": rows[going],
                    "following": np.array([whole[one][depth + 1] for one in going]),
                },
            )
            total[going] += score
            depth += 1
        return total
