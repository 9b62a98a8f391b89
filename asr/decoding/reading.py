"""What a path through a graph says: its tokens and its words, with their frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from asr.decoding.hypothesis import Spans
from asr.decoding.passing import TOKEN
from asr.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from asr.decoding.graph import Graph
    from asr.decoding.hypothesis import Words
    from asr.decoding.passing import History

    Floats = NDArray[np.float32]
    Ways = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class Reading:
    """How a path of n steps reads.

    Attributes:
        tokens: [n + 1], how many tokens its steps have said, before the first and after each.
        costs: [n], of its arcs in the graph.
        spans: the tokens.
        words: the words.
        ends: for each word the place after its last token.
    """

    tokens: NDArray[np.int64]
    costs: Floats
    spans: Spans
    words: Words = ()
    ends: list[int] = field(default_factory=list)


NOTHING = Reading(np.zeros(1, np.int64), np.zeros(0, np.float32), Spans((), [], [], []))
"""How a path without steps reads."""


def read(
    graph: Graph,
    history: History,
    path: NDArray[np.int32],
    given: Sequence[int],
    log_probs: Floats,
    scores: Floats,
) -> Reading:
    """Reads a path.

    Args:
        graph: what the path leads through.
        history: where its steps are.
        path: [n], its steps.
        given: the labels of the words that they give.
        log_probs: [T, V], natural logarithms.
        scores: [T, V], what the path shall have the most of.

    Raises:
        GraphError: the words cannot be said with the tokens.
    """
    keys, costs = graph.keys_and_costs(history.arc[path])
    said = keys & TOKEN
    tokens = np.append(0, np.cumsum(said > 0))
    starts = history.frame[path][said > 0].tolist()
    spans = Spans.between(starts, said[said > 0].tolist(), log_probs, scores)
    if not spans.tokens:
        return Reading(tokens, costs, spans)
    entries = [graph.vocabulary[label] for label in given]
    ends = word_ends([ways for _, ways in entries], spans.tokens)
    words = (
        spans.word(text, begin, end)
        for (text, _), begin, end in zip(entries, [0, *ends], ends, strict=False)
    )
    return Reading(tokens, costs, spans, tuple(words), ends)


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
    reached = [{0: 0}]
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
    end, ends = max(reached[-1]), list[int]()
    for begins in reached[:0:-1]:
        ends.append(end)
        end = begins[end]
    return ends[::-1]


def _ends(start: int, phones: tuple[int, ...], tokens: tuple[int, ...]) -> Sequence[int]:
    """Where a word that begins at `start` can end."""
    if not phones:
        return range(start + 1, len(tokens) + 1)
    end = start + len(phones)
    return (end,) if tokens[start:end] == phones else ()
