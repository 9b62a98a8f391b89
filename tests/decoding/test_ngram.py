"""Language models: probabilities sum to one, whatever is mixed and pruned."""

import math

import numpy as np
import pytest

from asr.decoding.ngram import NgramModel, mix, prune, read_arpa
from asr.errors import GraphError

ARPA = """\
\\data\\
ngram 1=5
ngram 2=4
ngram 3=2

\\1-grams:
-99\t<s>\t-0.30103
-0.60206\t</s>
-0.30103\ta\t-0.1
-0.60206\tb\t-0.2
-9\tforeign\t-0.2

\\2-grams:
-0.2\t<s> a\t-0.4
-0.5\ta b\t0
-0.6\tb a\t0
-1.5\ta foreign\t0

\\3-grams:
-0.05\t<s> a b
-0.7\tb a </s>

\\end\\
"""

TEN = math.log(10)


@pytest.fixture
def arpa(tmp_path):
    path = tmp_path / "model.arpa"
    path.write_text(ARPA)
    return path


def key(model: NgramModel, *words: str) -> np.ndarray:
    value = 0
    for word in words:
        value = value * model.base + model.words.index(word)
    return np.array([value])


def test_log_prob_backs_off(arpa):
    model = read_arpa(arpa, ["a", "b"])
    assert model.log_prob(key(model, "<s>", "a", "b"), 3) == pytest.approx(-0.05 * TEN)
    assert model.log_prob(key(model, "b", "a", "b"), 3) == pytest.approx(-0.5 * TEN)
    # not listed: back-off of (<s> a) and of (a), then the unigram
    assert model.log_prob(key(model, "<s>", "a", "a"), 3) == pytest.approx(
        (-0.4 - 0.1 - 0.30103) * TEN, abs=1e-4
    )


def test_words_outside_the_vocabulary_are_passed_over(arpa):
    model = read_arpa(arpa, ["a", "b"])
    assert model.words == ("<s>", "</s>", "a", "b")
    assert [len(order.keys) for order in model.orders] == [4, 3, 2]


@pytest.mark.parametrize(
    "text",
    ["", "garbage\n", ARPA.replace("ngram 2=4", "ngram 2=x"), ARPA[:60], ARPA.replace("\t", " ")],
)
def test_damaged_arpa_is_named(tmp_path, text):
    path = tmp_path / "bad.arpa"
    path.write_text(text)
    with pytest.raises(GraphError, match=r"bad\.arpa is not a language model in ARPA format"):
        read_arpa(path, ["a", "b"])


def total(model: NgramModel, *history: str) -> float:
    """The sum of P(word | history) over all words but <s>."""
    n = len(history) + 1
    keys = np.concatenate([key(model, *history, word) for word in model.words[1:]])
    return float(np.exp(model.log_prob(keys, n)).sum())


def random_model(seed: int, words: int = 6, share: float = 0.4) -> tuple[NgramModel, np.ndarray]:
    """A consistent trigram model that lists some of all n-grams, and word frequencies."""
    from asr.decoding.ngram import Order, normalised

    random = np.random.default_rng(seed)
    names = ("<s>", "</s>", *(f"w{i}" for i in range(words)))
    base = len(names)
    unigram = np.log(np.concatenate([[1e-90], random.dirichlet(np.ones(base - 1))]))
    orders = [Order(np.arange(base), unigram, np.zeros(base))]
    for n in (2, 3):
        history = orders[-1].keys[orders[-1].keys % base != 1] if n == 3 else np.arange(base)
        history = history[history != 1]
        keys = (history[:, None] * base + np.arange(1, base)).ravel()
        keys = np.sort(random.choice(keys, int(share * len(keys)), replace=False))
        orders.append(
            Order(keys, np.log(random.uniform(0.01, 0.99 / base, len(keys))), np.zeros(len(keys)))
        )
    frequency = np.concatenate([[1.0, 1.0], random.dirichlet(np.ones(words))])
    return normalised(NgramModel(names, tuple(orders))), frequency


HISTORIES = [("<s>",), ("w0",), ("<s>", "w1"), ("w2", "w3"), ("w5", "w5")]


def test_mixture_sums_to_one_and_lies_between():
    (one, first), (two, second) = random_model(1), random_model(2)
    both = mix([one, two], [0.7, 0.3], np.array([first, second]))
    for history in HISTORIES:
        assert total(both, *history) == pytest.approx(1, abs=1e-6)
    keys = both.orders[2].keys
    parts = np.array([one.log_prob(keys, 3), two.log_prob(keys, 3)])
    assert (both.orders[2].log_prob >= parts.min(axis=0) - 1e-9).all()
    assert (both.orders[2].log_prob <= parts.max(axis=0) + 1e-9).all()


def test_mixture_follows_the_text_that_knows_the_context():
    (one, first), (two, second) = random_model(1), random_model(2)
    first[3], second[3] = 1e-12, 1.0
    both = mix([one, two], [0.5, 0.5], np.array([first, second]))
    keys = both.orders[1].keys[both.orders[1].keys // both.base == 3]
    assert len(keys)
    assert both.log_prob(keys, 2) == pytest.approx(two.log_prob(keys, 2), abs=1e-6)


@pytest.mark.parametrize("size", [10, 40, 80, 1000])
def test_pruned_model_has_the_size_and_sums_to_one(size):
    model, frequency = random_model(3)
    pruned = prune(model, size, frequency)
    kept = sum(len(order.keys) for order in pruned.orders)
    assert kept <= size
    assert kept > size - 20 or size == 1000
    for history in HISTORIES:
        assert total(pruned, *history) == pytest.approx(1, abs=1e-6)
    histories = pruned.orders[2].keys // pruned.base
    listed = set(model.orders[1].keys.tolist()) & set(histories.tolist())
    assert listed <= set(pruned.orders[1].keys.tolist())


def test_pruning_drops_what_changes_least():
    model, frequency = random_model(4)
    worst = 0.0
    size = sum(len(order.keys) for order in model.orders)
    keys = np.arange(model.base**2)
    keys = keys[(keys % model.base != 0) & (keys // model.base != 1)]
    exact = model.log_prob(keys, 2)
    for kept in (size, size - 20, size - 60, size - 100):
        pruned = prune(model, kept, frequency)
        change = float(np.abs(np.exp(pruned.log_prob(keys, 2)) - np.exp(exact)).sum())
        assert change >= worst - 0.05
        worst = change
    assert worst > 0
