"""What a path through a graph says: its tokens and words with their frames, read on as it grows."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from asr.decoding.hypothesis import Spans
from asr.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from asr.decoding.graph import Graph
    from asr.decoding.hypothesis import Words
    from asr.decoding.passing import History

    Floats = NDArray[np.float32]
    Frames = Callable[[int], tuple[Floats, Floats]]
    Ways = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class Reading:
    """A path as it was read.

    Attributes:
        path: its n steps.
        tokens: [n + 1], how many tokens its steps have said, before the first and after each.
        labels: [n + 1], the same of labels.
        said: the labels of words, and above them those of tags.
        spans: the tokens.
        words: the words.
        entries: what the vocabulary says of each.
        ends: for each word the place after its last token.
        reached: see `reach`.
    """

    path: list[int]
    tokens: list[int]
    labels: list[int]
    said: tuple[int, ...]
    spans: Spans
    words: Words = ()
    entries: list[tuple[str, Ways]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    reached: list[dict[int, int]] = field(default_factory=lambda: [{0: 0}])


NOTHING = Reading([], [0], [0], (), Spans((), [], [], []))
"""How a path without steps reads."""


def read(
    graph: Graph,
    history: History,
    path: list[int],
    frames: Frames,
    known: Reading = NOTHING,
) -> Reading:
    """Reads a path.

    Args:
        graph: what the path leads through.
        history: where its steps are.
        path: its steps.
        frames: gives the log-probabilities [T, V] from a frame on, and what the path shall have
            the most of.
        known: how another path of the same history was read, fewer frames ago. What it has in
            common with this one is not read again.

    Raises:
        GraphError: the words cannot be said with the tokens.
    """
    if not path:
        return NOTHING
    same = min(len(path), len(known.path))
    while same and path[same - 1] != known.path[same - 1]:
        same -= 1
    steps = np.array(path[same:], np.intp)
    arcs = history.arc[steps]
    new, labels = graph.label[arcs], graph.word[arcs]
    spoken = new > 0
    tokens = _counted(known.tokens[: same + 1], spoken)
    counts = _counted(known.labels[: same + 1], labels > 0)
    starts = history.frame[steps][spoken].tolist()
    spans = _spans(known.spans, tokens[same], starts, new[spoken].tolist(), frames)
    said = (*known.said[: counts[same]], *labels[labels > 0].tolist())
    most = len(graph.vocabulary)
    old = sum(label <= most for label in said[: counts[same]])
    entries = known.entries[:old]
    entries += [graph.vocabulary[label] for label in said[counts[same] :] if label <= most]
    if not spans.tokens:
        return Reading(path, tokens, counts, said, spans, (), entries)
    ways = [way for _, way in entries]
    reached = reach(ways, spans.tokens, _settled(ways[:old], known.reached, tokens[same]))
    ends = back(reached)[: len(ways)]
    kept = 0
    while kept < min(old, len(known.ends)) and ends[kept] == known.ends[kept] < tokens[same]:
        kept += 1
    begins = [0, *ends]
    new_words = (
        spans.word(entries[place][0], begins[place], ends[place])
        for place in range(kept, len(ends))
    )
    words = (*known.words[:kept], *new_words)
    return Reading(path, tokens, counts, said, spans, words, entries, ends, reached)


def _counted(counts: list[int], new: NDArray[np.bool_]) -> list[int]:
    """Goes on counting."""
    return counts[:-1] + list(accumulate(new.tolist(), initial=counts[-1]))


def _spans(known: Spans, same: int, starts: list[int], tokens: list[int], frames: Frames) -> Spans:
    """The first `same` of some tokens and new ones; the last of the old may last longer by now."""
    kept = max(0, same - 1)
    starts = known.starts[kept:same] + starts
    if not starts:
        return known
    begin = starts[0]
    tokens = [*known.tokens[kept:same], *tokens]
    new = Spans.between([start - begin for start in starts], tokens, *frames(begin))
    return Spans(
        known.tokens[:kept] + new.tokens,
        known.starts[:kept] + starts,
        known.ends[:kept] + [begin + end for end in new.ends],
        known.log_probs[:kept] + new.log_probs,
    )


def word_ends(words: Sequence[Ways], tokens: tuple[int, ...]) -> list[int]:
    """Finds which tokens each word of a path is made of.

    The graph gives a word as soon as its tokens cannot be another's, or only some tokens after its
    end; so the words alone do not say where they are.

    Args:
        words: of each word the pronunciations, as token ids; one without any stands for all that
            have some. The last word may be spoken in part.
        tokens: of the path; the last may belong to a word that is not decided yet.

    Returns:
        For each word, the place after its last token.

    Raises:
        GraphError: the words cannot be said with these tokens.
    """
    return back(reach(words, tokens, [{0: 0}]))[: len(words)]


def reach(
    words: Sequence[Ways], tokens: tuple[int, ...], known: list[dict[int, int]]
) -> list[dict[int, int]]:
    """Where each word can end, and where it begins if it does; `known` is that of the first words.

    Before them all stands an end at 0. See `word_ends`.
    """
    reached = known.copy()
    for said in words[len(reached) - 1 :]:
        reached.append(
            {
                end: start
                for start in reached[-1]
                for phones in said
                for end in _ends(start, phones, tokens)
            }
        )
    if words and not reached[-1]:
        reached[-1] = {
            len(tokens): start
            for start in reached[-2]
            if any(phones[: len(tokens) - start] == tokens[start:] for phones in words[-1])
        }
    if not reached[-1]:
        raise GraphError("the graph's words and its lexicon differ; build the graph again")
    return reached


def back(reached: list[dict[int, int]]) -> list[int]:
    """The ends of the words, the last as late as can be."""
    ends = [max(reached[-1])]
    for starts in reached[:1:-1]:
        ends.append(starts[ends[-1]])
    return ends[::-1]


def _settled(
    words: Sequence[Ways], reached: list[dict[int, int]], tokens: int
) -> list[dict[int, int]]:
    """As much of `reached` as tokens behind the first ones cannot change."""
    count = 1
    for ends, said in zip(reached, words, strict=False):
        if not all(said) or max(ends) + max(map(len, said)) > tokens:
            break
        count += 1
    return reached[:count]


def _ends(start: int, phones: tuple[int, ...], tokens: tuple[int, ...]) -> Sequence[int]:
    """Where a word that begins at `start` can end."""
    if not phones:
        return range(start + 1, len(tokens) + 1)
    end = start + len(phones)
    return (end,) if tokens[start:end] == phones else ()
