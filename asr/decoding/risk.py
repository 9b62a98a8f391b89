"""Which of several hypotheses has the fewest errors to be expected of it.

The likeliest sentence is the one that is most often right as a whole. Who counts words wants the
one with the fewest wrong words on average over all that could have been said, each as often as it
is likely: minimum Bayes risk (Stolcke, König and Weintraub 1997; Goel and Byrne 2000). The two
differ where no sentence is likely, as in noise.

What is here in numpy is the specification; `_distances.c` does the same, where it could be
compiled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from asr.decoding import passing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Sentence = Sequence[int]

SHARPNESS = 0.8
"""A hypothesis is as likely as the exponential of its score times this. The scores of a search add
up what is said of neighbouring frames, as if they knew nothing of each other."""
NOTHING = -1
"""Behind the words of a sentence in a table."""
CANDIDATES = 20
"""So many of the likeliest are candidates; the others count as what could have been said."""


def fewest_errors(sentences: Sequence[Sentence], scores: Sequence[float]) -> int:
    """The place of the sentence with the fewest expected word errors.

    Args:
        sentences: ids of words, the likeliest first.
        scores: what each is worth, in nats, but for a constant.
    """
    likely = np.exp(SHARPNESS * (np.array(scores) - scores[0]))
    return int(np.argmin(distances(sentences, CANDIDATES) @ likely))


def distances(sentences: Sequence[Sentence], most: int) -> NDArray[np.int32]:
    """How many words have to be changed, put in or left out to make one sentence of another.

    Args:
        sentences: [n], ids of words.
        most: of so many of them, at most, the distances are wanted.

    Returns:
        [min(n, most), n] (Levenshtein 1966).
    """
    some = min(most, len(sentences))
    lengths = np.array([len(sentence) for sentence in sentences], np.int64)
    words = np.array([word for sentence in sentences for word in sentence], np.int64)
    if passing.COMPILED:
        from asr.decoding import _passing

        found = np.frombuffer(_passing.distances(words, np.cumsum(lengths), some), np.int32)
        return found.reshape(some, len(sentences))
    table = np.full((len(sentences), int(lengths.max(initial=0))), NOTHING)
    table[np.arange(table.shape[1]) < lengths[:, None]] = words
    return _distances(table[:some], lengths[:some], table, lengths)


def _distances(
    some: NDArray[np.int64],
    rows: NDArray[np.int64],
    others: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> NDArray[np.int32]:
    """The same for two tables of sentences, and how long each of these is."""
    places = np.arange(others.shape[1] + 1, dtype=np.int32)
    costs = np.empty((some.shape[1] + 1, len(some), len(others), len(places)), np.int32)
    costs[0] = places  # from the first 0 words of one to the first j of the other
    for i, word in enumerate(some.T):
        before, after = costs[i], costs[i + 1]
        after[..., 0] = i + 1
        differ = word[:, None, None] != others
        np.minimum(before[..., 1:] + 1, before[..., :-1] + differ, out=after[..., 1:])
        after -= places
        np.minimum.accumulate(after, axis=2, out=after)  # words that are put in
        after += places
    return costs[rows[:, None], np.arange(len(some))[:, None], np.arange(len(others)), columns]
