"""How likely it is that a word is right, from what is at hand when it has been found.

The posteriors of a word's tokens alone say too little: the model is surer of its phones than it may
be of a word, a short word is mistaken more often than a long one, and so is one that nobody expects
after those before it. A logistic regression weighs all that. Its weights are fitted to transcribed
speech by `scripts/calibrate.py` and ship with the model.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from asr.decoding.hypothesis import DecodedWord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from asr.decoding.hypothesis import Spans, Words
    from asr.decoding.reading import Reading

    Floats = NDArray[np.floating]

FEATURES = 4
"""Of each word: its doubt and that of the segment, how many tokens it has, what the graph costs."""


def features(reading: Reading) -> NDArray[np.float64]:
    """What is known of each word.

    The doubt of some tokens is the root of their mean negative log-probability.

    Args:
        reading: of a path.

    Returns:
        [words, FEATURES].
    """
    spans = reading.spans
    spent = np.bincount(reading.tokens[1:], reading.costs, len(spans.tokens) + 1)[1:]
    everything = _doubt(spans, 0, len(spans.tokens))
    return np.array(
        [
            [_doubt(spans, begin, end), everything, end - begin, float(spent[begin:end].sum())]
            for begin, end in zip([0, *reading.ends], reading.ends, strict=False)
        ]
    ).reshape(-1, FEATURES)


def _doubt(spans: Spans, begin: int, end: int) -> float:
    return math.sqrt(max(0.0, -sum(spans.log_probs[begin:end]) / max(1, end - begin)))


def probabilities(known: Floats, weights: Sequence[float]) -> NDArray[np.float64]:
    """The probability that each word is right, [words].

    Args:
        known: [words, FEATURES].
        weights: of the features, before them that of a constant.
    """
    logits = weights[0] + known @ np.array(weights[1:])
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -50, 50))))


def rated(reading: Reading, weights: Sequence[float]) -> Words:
    """The words of a path, the confidence of each being the probability that it is right.

    Args:
        reading: of the path.
        weights: see `probabilities`. If there are none, confidences stay what they are.
    """
    if not weights or not reading.words:
        return reading.words
    right = probabilities(features(reading), weights).tolist()
    return tuple(
        DecodedWord(word.text, word.start, word.end, confidence)
        for word, confidence in zip(reading.words, right, strict=True)
    )
