"""From a lexicon and a language model to a graph of phones and words.

The recipe is that of Mohri, Pereira and Riley, "Weighted finite-state transducers in speech
recognition", 2002, in the manner of Kaldi: lexicon and grammar are composed, determinised and
minimised. The CTC topology is added where the graph is loaded (`asr.decoding.ctc`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import kaldifst
import numpy as np

from asr.decoding.fst import ARC, Fst, connected
from asr.decoding.lexicon import TOKENS, Lexicon
from asr.decoding.phone_graph import PhoneGraph, rounded
from asr.decoding.vocabulary import Vocabulary
from asr.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from asr.decoding.ngram import NgramModel

    Ints = NDArray[np.int64]

MOST_FINAL = 4.0
"""What it costs at most to end after a word, however unlikely a sentence ends there."""

VARIANT = 3.0
"""What a pronunciation costs that is not a word's first, in nats: they are said more rarely."""

MARK = len(TOKENS)
"""Input labels from here on keep apart what sounds alike, until the graph is deterministic. The
first, #0 in the literature, is that of backing off; #1, #2, ... follow words."""


def build(lexicon: Lexicon, model: NgramModel) -> PhoneGraph:
    """Makes a graph.

    Args:
        lexicon: the pronunciations of the model's words.
        model: a language model over the words of the lexicon.

    Raises:
        GraphError: the lexicon lacks a word of the model.
    """
    words = model.words[2:]
    if missing := [word for word in words if word not in lexicon]:
        raise GraphError(f"the lexicon lacks {len(missing)} words of the model: {missing[:5]}")
    vocabulary = Vocabulary.of(Lexicon({word: lexicon[word] for word in words}))
    graph = kaldifst.compose(_lexicon_fst(vocabulary), _to_kaldifst(grammar(model)))
    kaldifst.determinize_star(graph, use_log=True)
    graph = kaldifst.StdVectorFst(_to_kaldifst(rounded(_from_kaldifst(graph))))
    kaldifst.minimize_encoded(graph)
    fst = simplified(_without_marks(_from_kaldifst(graph)))
    phones = PhoneGraph(vocabulary, fst)
    return replace(phones, root=phones.columns.backed_off())


def _lexicon_fst(vocabulary: Vocabulary) -> kaldifst.StdVectorFst:
    """A loop over all pronunciations, from token ids to labels of words; sorted by word."""
    lines = [f"0 0 {MARK} {len(vocabulary) + 1}"]
    free = 1
    for word, tokens, cost in _marked(vocabulary):
        states = [0, *range(free, free + len(tokens) - 1), 0]
        free += len(tokens) - 1
        silent = [0] * (len(tokens) - 1)
        outputs, costs = [word, *silent], [cost, *silent]
        lines += map("{} {} {} {} {}".format, states, states[1:], tokens, outputs, costs)
    fst = kaldifst.compile("\n".join([*lines, "0", ""]))
    kaldifst.arcsort(fst, sort_type="olabel")
    return fst


def _marked(vocabulary: Vocabulary) -> Iterator[tuple[int, tuple[int, ...], float]]:
    """Gives each word with each of its pronunciations, and what that costs.

    There is a mark after it if several words sound the same, and if another begins like it.
    """
    said = [
        (word, way, VARIANT if place else 0.0)
        for word in range(1, len(vocabulary) + 1)
        for place, way in enumerate(vocabulary[word][1])
    ]
    times = Counter(way for _, way, _ in said)
    beginnings = {way[:end] for way in times for end in range(1, len(way))}
    used: Counter[tuple[int, ...]] = Counter()
    for word, way, cost in said:
        if times[way] > 1 or way in beginnings:
            used[way] += 1
            way = (*way, MARK + used[way])
        yield word, way, cost


def grammar(model: NgramModel) -> Fst:
    """Turns a model into an acceptor of word ids (the first is 1), sorted by them.

    A state is a context that n-grams continue; the first is the empty one. An arc whose input
    is the label after the last word leads to the context without its first word.
    """
    base, start, end = model.base, 0, 1
    contexts = _contexts(model)
    sizes = np.cumsum([0, *map(len, contexts)])
    states, arcs, ends = [], [], []
    for n, order in enumerate(model.orders, 1):
        word = order.keys % base
        spoken = (word != end) & (word != start)
        keys, cost = order.keys[spoken], -order.log_prob[spoken]
        states.append(_state(contexts, base, keys // base, n - 1))
        label = keys % base - 1
        arcs.append(_arcs(label, label, cost, _state(contexts, base, keys, n)))
    for n, keys in enumerate(contexts):
        ends.append(-model.log_prob(keys * base + end, n + 1))
        if n:
            place, _ = model.orders[n - 1].find(keys)
            states.append(sizes[n] + np.arange(len(keys)))
            to = _state(contexts, base, keys % base ** (n - 1), n - 1)
            arcs.append(_arcs(base - 1, 0, -model.orders[n - 1].backoff[place], to))
    first = _state(contexts, base, np.array([start]), 1)[0]
    final = np.minimum(np.concatenate(ends), MOST_FINAL).astype(np.float32)
    return Fst.of(int(first), final, np.concatenate(states), np.concatenate(arcs))


def _contexts(model: NgramModel) -> list[Ints]:
    """The keys of the contexts of 0, 1, ... words that need a state."""
    contexts = [np.zeros(1, np.int64)]
    for shorter, order in zip(model.orders, model.orders[1:], strict=False):
        weighted = shorter.keys[shorter.backoff != 0]
        contexts.append(np.union1d(order.keys // model.base, weighted))
    return contexts


def _state(contexts: list[Ints], base: int, keys: Ints, n: int) -> Ints:
    """The state of the longest context that n words, given as keys [k], end with."""
    if n == 0:
        return np.zeros(len(keys), np.int64)
    shorter = _state(contexts, base, keys % base ** (n - 1), n - 1)
    if n >= len(contexts) or not len(contexts[n]):
        return shorter
    place = np.minimum(np.searchsorted(contexts[n], keys), len(contexts[n]) - 1)
    offset = sum(map(len, contexts[:n]))
    return np.where(contexts[n][place] == keys, offset + place, shorter)


def _arcs(
    ilabel: Ints | int, olabel: Ints | int, cost: NDArray[np.float64], to: Ints
) -> NDArray[np.void]:
    arcs = np.zeros(len(to), ARC)
    arcs["ilabel"], arcs["olabel"], arcs["weight"], arcs["next"] = ilabel, olabel, cost, to
    return arcs


def _to_kaldifst(fst: Fst) -> kaldifst.StdFst:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "graph.fst"
        fst.write(path)
        return kaldifst.StdConstFst.read(str(path))


def _from_kaldifst(fst: kaldifst.StdVectorFst) -> Fst:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "graph.fst"
        kaldifst.StdConstFst(fst).write(str(path))
        return Fst.read(path)


def _without_marks(graph: Fst) -> Fst:
    arcs = graph.arcs.copy()
    arcs["ilabel"][arcs["ilabel"] >= MARK] = 0
    return Fst(graph.start, graph.states, arcs)


def simplified(graph: Fst) -> Fst:
    """Takes out the states that only pass on to another one, as the marks after words leave them.

    An arc to such a state goes where that leads to instead, if one arc can say what both said.
    """
    arcs = graph.arcs.copy()
    only = arcs[np.minimum(graph.states["first"], len(arcs) - 1)]
    passing = (graph.states["arcs"] == 1) & np.isinf(graph.states["final"]) & (only["ilabel"] == 0)
    while True:
        onward = only[arcs["next"]]
        mergeable = passing[arcs["next"]] & ((arcs["olabel"] == 0) | (onward["olabel"] == 0))
        if not mergeable.any():
            return connected(Fst(graph.start, graph.states, arcs))
        for name in ("olabel", "weight"):
            arcs[name][mergeable] += onward[name][mergeable]
        arcs["next"][mergeable] = onward["next"][mergeable]
