"""A small language to search in: its lexicon, its bigrams, and frames of its sounds."""

import math
from pathlib import Path

import numpy as np

from asr.decoding.build import build
from asr.decoding.graph import Graph
from asr.decoding.lexicon import TOKENS, Lexicon
from asr.decoding.ngram import END, START, NgramModel, Order, normalised
from asr.decoding.phone_graph import PhoneGraph

LEXICON = Lexicon.from_text(
    """\
a AH
a EY
bus B AH S
stop S T AA P
top T AA P
read R IY D
read R EH D
red R EH D
reed R IY D
tea T IY
tee T IY
teapot T IY P AA T
"""
)

LIKELY = {("a", "red"): 0.4, ("a", "reed"): 0.4, ("bus", "read"): 0.4, ("a", "tee"): 0.1}


def bigrams(lexicon: Lexicon, likely: dict[tuple[str, str], float]) -> NgramModel:
    """A model in which all words are as frequent, but for the given P(second | first)."""
    names = (START, END, *lexicon)
    unigram = np.full(len(names), -math.log(len(names) - 1))
    unigram[0] = -200.0
    given = {names.index(a) * len(names) + names.index(b): p for (a, b), p in likely.items()}
    keys = np.array(sorted(given), np.int64)
    pairs = np.log([given[key] for key in keys.tolist()])
    orders = (
        Order(np.arange(len(names)), unigram, np.zeros(len(names))),
        Order(keys, pairs, np.zeros(len(keys))),
    )
    return normalised(NgramModel(names, orders))


def small_graph() -> PhoneGraph:
    return build(LEXICON, bigrams(LEXICON, LIKELY))


def loaded(packed: PhoneGraph, path: Path) -> Graph:
    packed.save(path)
    return Graph.load(path)


def frames(spelled: str, posterior: float = 0.97) -> np.ndarray:
    """Log-probabilities [T, V] that say `spelled`, a token a frame, `-` for blank."""
    ids = [0 if name == "-" else TOKENS.index(name) for name in spelled.split()]
    probability = np.full((len(ids), len(TOKENS)), (1 - posterior) / (len(TOKENS) - 1))
    probability[np.arange(len(ids)), ids] = posterior
    return np.log(probability).astype(np.float32)


def noise(count: int, seed: int) -> np.ndarray:
    """Log-probabilities [T, V] of nothing in particular, with blank ahead."""
    scores = np.random.default_rng(seed).normal(scale=3.0, size=(count, len(TOKENS)))
    scores[:, 0] += 3.0
    return (scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))).astype(np.float32)
