"""What a path through a graph says: its tokens and words with their frames, read on as it grows."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from asr.decoding.hypothesis import Spans
from asr.decoding.passing import TOKEN
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
        settled: for each word how many tokens there have to be so that those behind them change
            nothing of where it and the words before it can end.
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
    settled: list[float] = field(default_factory=list)


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
    tokens, counts, starts, new, labels = _steps(graph, history, path[same:], known, same)
    spans = _spans(known.spans, tokens[same], starts, new, frames)
    most = len(graph.vocabulary)
    old = len(known.entries) - sum(label <= most for label in known.said[counts[same] :])
    said = (*known.said[: counts[same]], *labels)
    entries = known.entries[:old] + [graph.vocabulary[label] for label in labels if label <= most]
    if not spans.tokens:
        return Reading(path, tokens, counts, said, spans, (), entries)
    fixed = min(bisect_right(known.settled, tokens[same]), old)
    reached = reach([way for _, way in entries[fixed:]], spans.tokens, known.reached[: fixed + 1])
    settled = _settled(entries, reached, known.settled[:fixed])
    ends = back(reached, known.ends[:fixed])[: len(entries)]
    kept = min(fixed, bisect_left(ends, tokens[same]))
    while known.ends[:kept] != ends[:kept]:
        kept -= 1
    begins = [0, *ends]
    new_words = (
        spans.word(entries[place][0], begins[place], ends[place])
        for place in range(kept, len(ends))
    )
    words = (*known.words[:kept], *new_words)
    return Reading(path, tokens, counts, said, spans, words, entries, ends, reached, settled)


def _steps(
    graph: Graph, history: History, steps: list[int], known: Reading, same: int
) -> tuple[list[int], list[int], list[int], list[int], list[int]]:
    """Reads new steps behind the first `same` of a path.

    Returns:
        how many tokens and labels all steps have said, see `Reading`; the first frames and the ids
        of the tokens that are new; and the new labels.
    """
    tokens, counts = known.tokens[: same + 1], known.labels[: same + 1]
    if not steps:
        return tokens, counts, [], [], []
    arcs = history.arc[steps]
    new, labels = (graph.keys(arcs) & TOKEN).tolist(), graph.words(arcs).tolist()
    tokens += list(accumulate((token > 0 for token in new), initial=tokens.pop()))
    counts += list(accumulate((label > 0 for label in labels), initial=counts.pop()))
    starts = [
        frame for frame, token in zip(history.frame[steps].tolist(), new, strict=True) if token
    ]
    return tokens, counts, starts, [*filter(None, new)], [*filter(None, labels)]


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
    return back(reach(words, tokens, [{0: 0}]), [])[: len(words)]


def reach(
    words: Sequence[Ways], tokens: tuple[int, ...], known: list[dict[int, int]]
) -> list[dict[int, int]]:
    """Where each word can end, and where it begins if it does; `known` is that of those before.

    Before them all stands an end at 0. See `word_ends`.
    """
    reached = known.copy()
    for said in words:
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


def back(reached: list[dict[int, int]], known: list[int]) -> list[int]:
    """The ends of the words, the last as late as can be.

    Args:
        reached: where they can end.
        known: an earlier answer for the first words, of which no more can end elsewhere.
    """
    place, end, ends = len(reached) - 1, max(reached[-1]), list[int]()
    while place > len(known) or (place and known[place - 1] != end):
        ends.append(end)
        end = reached[place][end]
        place -= 1
    return known[:place] + ends[::-1]


def _settled(
    entries: Sequence[tuple[str, Ways]], reached: list[dict[int, int]], known: list[float]
) -> list[float]:
    """See `Reading`; `known` is that of the first words."""
    settled = known.copy()
    for (_, said), ends in zip(entries[len(known) :], reached[len(known) :], strict=False):
        longest = max(map(len, said)) if all(said) else math.inf
        settled.append(max([*settled[-1:], max(ends) + longest]))
    return settled


def _ends(start: int, phones: tuple[int, ...], tokens: tuple[int, ...]) -> Sequence[int]:
    """Where a word that begins at `start` can end."""
    if not phones:
        return range(start + 1, len(tokens) + 1)
    end = start + len(phones)
    return (end,) if tokens[start:end] == phones else ()
