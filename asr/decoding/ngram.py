"""N-gram language models: mixed from several kinds of text, pruned to a size.

An n-gram (w1 ... wn) is one integer, its word ids as digits in base V; dividing by V gives its
history, the remainder by V^(n-1) the n-gram that it backs off to. Logarithms are natural.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from asr.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import TextIO

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

START, END = "<s>", "</s>"
NEVER = -99.0
"""What an ARPA file gives as the log10 probability of something that cannot be, such as <s>."""


@dataclass(frozen=True)
class Order:
    """The n-grams of one order: sorted keys, log-probabilities, log back-off weights, all [n]."""

    keys: Ints
    log_prob: Floats
    backoff: Floats

    def find(self, keys: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Gives the place of each key (0 where it is absent), and whether it is there."""
        if not len(self.keys):
            return np.zeros(len(keys), np.int64), np.zeros(len(keys), bool)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return place, self.keys[place] == keys


@dataclass(frozen=True)
class NgramModel:
    """A back-off n-gram model.

    Attributes:
        words: V words; the first two are <s> and </s>.
        orders: unigrams (of every word, in the order of `words`), bigrams, ...
    """

    words: tuple[str, ...]
    orders: tuple[Order, ...]

    @property
    def base(self) -> int:
        """V, the base of the keys."""
        return len(self.words)

    def log_prob(self, keys: Ints, n: int) -> Floats:
        """Gives log P(wn | w1 ... wn-1) of n-grams [k], backing off where they are not listed."""
        order = self.orders[n - 1]
        if n == 1:
            return order.log_prob[keys]
        place, known = order.find(keys)
        result = order.log_prob[place] if len(order.keys) else np.zeros(len(keys))
        missing = keys[~known]
        history, seen = self.orders[n - 2].find(missing // self.base)
        backoff = np.where(seen, self.orders[n - 2].backoff[history], 0.0)
        result[~known] = backoff + self.log_prob(missing % self.base ** (n - 1), n - 1)
        return result


def read_arpa(path: Path, words: Sequence[str]) -> NgramModel:
    """Reads an ARPA file; n-grams with words outside `words` (such as <unk>) are passed over.

    Args:
        path: the file.
        words: the vocabulary, without <s> and </s>.

    Raises:
        GraphError: the file cannot be read or is not in ARPA format.
    """
    names = (START, END, *words)
    ids = {word: i for i, word in enumerate(names)}
    try:
        with path.open(encoding="utf-8") as lines:
            sizes = _read_sizes(lines)
            if len(names) ** len(sizes) > np.iinfo(np.int64).max:
                raise GraphError(f"{len(names)} words are too many for {len(sizes)}-grams")
            orders = [_read_order(lines, n, size, ids) for n, size in enumerate(sizes, 1)]
    except (OSError, ValueError, StopIteration) as error:
        raise GraphError(f"{path} is not a language model in ARPA format: {error}") from error
    return NgramModel(names, (_every_word(orders[0], len(names)), *orders[1:]))


def _read_sizes(lines: TextIO) -> list[int]:
    """Reads the header up to the blank line after the number of n-grams of each order."""
    while next(lines).strip() != "\\data\\":
        pass
    sizes = []
    while line := next(lines).strip():
        sizes.append(int(line.rpartition("=")[2]))
    return sizes


def _read_order(lines: TextIO, n: int, size: int, ids: dict[str, int]) -> Order:
    while next(lines).strip() != f"\\{n}-grams:":
        pass
    keys, log_probs, backoffs = [], [], []
    for line in islice(lines, size):
        log_prob, gram, *backoff = line.rstrip("\n").split("\t")
        key = 0
        for word in gram.split(" "):
            if (i := ids.get(word)) is None:
                break
            key = key * len(ids) + i
        else:
            keys.append(key)
            log_probs.append(float(log_prob))
            backoffs.append(float(backoff[0]) if backoff else 0.0)
    found = np.array(keys, np.int64)
    order = np.argsort(found)
    scale = math.log(10)
    return Order(
        found[order], np.array(log_probs)[order] * scale, np.array(backoffs)[order] * scale
    )


def _every_word(unigrams: Order, size: int) -> Order:
    """Gives every word a unigram, and lets the probabilities sum to one."""
    log_prob = np.full(size, NEVER * math.log(10))
    backoff = np.zeros(size)
    log_prob[unigrams.keys] = unigrams.log_prob
    backoff[unigrams.keys] = unigrams.backoff
    log_prob[1:] -= math.log(np.exp(log_prob[1:]).sum())
    return Order(np.arange(size), log_prob, backoff)


def mix(models: Sequence[NgramModel], weights: Sequence[float], frequency: Floats) -> NgramModel:
    """Mixes models of one vocabulary into one that knows every n-gram that one of them lists.

    A model's weight in a context h is its prior weight times the probability of h in its text,
    so that what is said in novels is continued as in novels (Bayesian interpolation: Stolcke,
    "SRILM", ICSLP 2002, and Allauzen and Riley, "Bayesian language model interpolation for mobile
    speech input", Interspeech 2011).

    Args:
        models: K models over the same words.
        weights: K prior weights.
        frequency: [K, V], the relative frequency of each word in each text; that of <s> is 1.
    """
    orders = []
    for n in range(1, len(models[0].orders) + 1):
        keys = np.unique(np.concatenate([model.orders[n - 1].keys for model in models]))
        joint = context = np.full(len(keys), -np.inf)
        for model, weight, seen in zip(models, weights, np.log(frequency), strict=True):
            here = math.log(weight) + _context(model, keys, n, seen)
            context = np.logaddexp(context, here)
            joint = np.logaddexp(joint, here + model.log_prob(keys, n))
        orders.append(Order(keys, joint - context, np.zeros(len(keys))))
    return normalised(NgramModel(models[0].words, tuple(orders)))


def _context(model: NgramModel, keys: Ints, n: int, log_frequency: Floats) -> Floats:
    """Gives log P(w1 ... wn-1): the frequency of w1 times what the model says of the rest."""
    if n == 1:
        return np.zeros(len(keys))
    histories, places = np.unique(keys // model.base, return_inverse=True)
    result: Floats = log_frequency[histories // model.base ** (n - 2)]
    for k in range(2, n):
        gram = histories // model.base ** (n - 1 - k) % model.base**k
        result = result + model.log_prob(gram, k)
    return result[places]


def normalised(model: NgramModel) -> NgramModel:
    """Sets the back-off weights so that the probabilities after every history sum to one."""
    orders = [model.orders[0]]
    for n in range(2, len(model.orders) + 1):
        order = model.orders[n - 1]
        lower = NgramModel(model.words, tuple(orders))
        places, left, left_lower = _left_over(lower, order, n)
        backoff = np.zeros(len(orders[-1].keys))
        backoff[places] = np.log(left[places] / left_lower[places])
        orders[-1] = Order(orders[-1].keys, orders[-1].log_prob, backoff)
        orders.append(order)
    return NgramModel(model.words, tuple(orders))


def _left_over(lower: NgramModel, order: Order, n: int) -> tuple[Ints, Floats, Floats]:
    """What the listed n-grams after a history leave to the others.

    Returns:
        The place of each n-gram's history among the (n-1)-grams; and for each (n-1)-gram the
        probability left by the n-grams that continue it, and by what these back off to.
    """
    places, _ = lower.orders[n - 2].find(order.keys // lower.base)
    size = len(lower.orders[n - 2].keys)
    shorter = np.exp(lower.log_prob(order.keys % lower.base ** (n - 1), n - 1))
    left = 1 - np.bincount(places, np.exp(order.log_prob), size)
    left_lower = 1 - np.bincount(places, shorter, size)
    return places, np.maximum(left, 1e-6), np.maximum(left_lower, 1e-6)


def prune(model: NgramModel, size: int, frequency: Floats) -> NgramModel:
    """Drops the n-grams (n > 1) that change the model least, until `size` n-grams are left.

    The change is the relative entropy between the model with and without the n-gram (Stolcke,
    "Entropy-based pruning of backoff language models", 1998), with histories weighted by their
    frequency in the text, as Chelba et al. ("Study on interaction between entropy pruning and
    Kneser-Ney smoothing", Interspeech 2010) advise.

    Args:
        model: the model.
        size: n-grams of all orders together to keep.
        frequency: [V], the relative frequency of each word in the text; that of <s> is 1.
    """
    losses = [_losses(model, n, np.log(frequency)) for n in range(2, len(model.orders) + 1)]
    low, high = -60.0, 0.0
    while high - low > 0.01:
        threshold = (low + high) / 2
        kept = _kept(model, losses, math.exp(threshold))
        small = model.base + sum(int(keep.sum()) for keep in kept) <= size
        low, high = (low, threshold) if small else (threshold, high)
    kept = _kept(model, losses, math.exp(high))
    orders = [model.orders[0]]
    for order, keep in zip(model.orders[1:], kept, strict=True):
        orders.append(Order(order.keys[keep], order.log_prob[keep], np.zeros(int(keep.sum()))))
    return normalised(NgramModel(model.words, tuple(orders)))


def _losses(model: NgramModel, n: int, log_frequency: Floats) -> Floats:
    """How much relative entropy [k] dropping each n-gram alone costs; Stolcke 1998, equation 9."""
    order = model.orders[n - 1]
    places, left, left_lower = _left_over(model, order, n)
    left, left_lower = left[places], left_lower[places]
    shorter = model.log_prob(order.keys % model.base ** (n - 1), n - 1)
    log_alpha = np.log((left + np.exp(order.log_prob)) / (left_lower + np.exp(shorter)))
    change = np.exp(order.log_prob) * (shorter + log_alpha - order.log_prob)
    change += left * (log_alpha - np.log(left / left_lower))
    loss: Floats = -np.exp(_context(model, order.keys, n, log_frequency)) * change
    return loss


def _kept(model: NgramModel, losses: Sequence[Floats], threshold: float) -> list[NDArray[np.bool_]]:
    """Which n-grams (n > 1) lose more than the threshold, or are the history of one that does."""
    kept = [loss > threshold for loss in losses]
    for n in range(len(kept), 1, -1):
        history = model.orders[n].keys[kept[n - 1]] // model.base
        place, known = model.orders[n - 1].find(history)
        kept[n - 2][place[known]] = True
    return kept
