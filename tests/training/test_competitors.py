"""CTC-CRF's denominator: against a sum that is written out, and for what it is there for."""

import itertools
import math

import numpy as np
import pytest
import torch

from asr.decoding.lexicon import TOKENS
from asr.training.competitors import (
    Competitors,
    contexts,
    phone_trigrams,
    sums,
    total,
    transitions,
)

A, B, C = 1, 2, 3
SENTENCES = [[A, B, A, B], [A, B, B, C], [C]]


def flat(sentences):
    tokens = torch.tensor([token for sentence in sentences for token in sentence])
    return tokens, torch.tensor([len(sentence) for sentence in sentences])


def random_log_probs(*shape: int, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64).log_softmax(-1)


def written_out(log_probs: torch.Tensor, likely: torch.Tensor) -> float:
    """The same sum over all paths of [T, V], one by one."""
    whole = 0.0
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        said = [token for token, _ in itertools.groupby(path) if token]
        chance = math.exp(sum(row[token] for row, token in zip(log_probs, path, strict=True)))
        for before, last, token in zip([0, 0, *said], [0, *said], said, strict=False):
            chance *= float(likely[before, last, token])
        whole += chance
    return math.log(whole)


@pytest.mark.parametrize("seed", range(3))
def test_the_sum_is_that_over_all_paths(seed):
    likely = torch.from_numpy(np.random.default_rng(seed).random((3, 3, 3)))
    likely[..., 0] = 0
    log_probs = random_log_probs(2, 5, 3, seed=seed)
    frames = torch.tensor([5, 3])
    found = total(log_probs, frames, transitions(likely))
    wanted = [
        written_out(row[:count], likely) for row, count in zip(log_probs, frames, strict=True)
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_its_gradient_is_right():
    likely = torch.from_numpy(np.random.default_rng(1).random((3, 3, 3)))
    likely[..., 0] = 0
    frames, ways = torch.tensor([4, 2]), transitions(likely)
    logits = random_log_probs(2, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: total(x.log_softmax(-1), frames, ways), logits)


def test_all_sentences_together_are_certain_if_none_is_rarer_than_another():
    """Then the sum is over all that CTC can say."""
    equal = torch.ones(len(TOKENS), len(TOKENS), len(TOKENS))
    equal[..., 0] = 0
    log_probs = (8 * random_log_probs(4, 200, len(TOKENS))).log_softmax(-1).float()
    found, said = sums(log_probs, torch.tensor([200, 150, 7, 1]), transitions(equal))
    torch.testing.assert_close(found, torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(said[0], log_probs[0].exp(), atol=1e-4, rtol=1e-3)
    assert not said[1, 150:].any()


def test_what_is_next_to_impossible_does_no_harm():
    """Probabilities that float32 cannot hold: certain frames that contradict the trigrams."""
    tokens, counts = flat([[A, B] * 50])
    beside = Competitors(tokens, counts, torch.device("cpu"))
    certain = torch.full((1, 300, len(TOKENS)), -200.0)
    certain[0, torch.arange(300), torch.arange(300) % len(TOKENS)] = 0.0
    certain.requires_grad_()
    odds = beside(certain, torch.tensor([300]), tokens, counts)
    odds.backward()
    assert odds.isfinite() and certain.grad is not None and certain.grad.isfinite().all()


def test_contexts_begin_with_blank_in_each_sentence():
    before, last = contexts(*flat(SENTENCES))
    assert before.tolist() == [0, 0, A, B, 0, 0, A, B, 0]
    assert last.tolist() == [0, A, B, A, 0, A, B, B, 0]


def test_trigrams_are_likelihoods():
    likely = phone_trigrams(*flat(SENTENCES))
    torch.testing.assert_close(likely.sum(-1), torch.ones(len(TOKENS), len(TOKENS)))
    assert not likely[..., 0].any()
    assert (likely[..., 1:] > 0).all()
    assert torch.equal(likely[C, C], likely[C, B + 10])  # neither was seen, nor what is shorter
    # A B was followed by A and by B, once each: two seen, two kinds, and so half is shared out as
    # after B alone, which was followed by A, B and C once each: three seen, three kinds.
    ones = (torch.tensor([3, 4, 2]) + 3 / 39) / (9 + 3)
    pairs = (torch.tensor([1, 1, 1]) + 3 * ones) / (3 + 3)
    wanted = (torch.tensor([1, 1, 0]) + 2 * pairs) / (2 + 2)
    torch.testing.assert_close(likely[A, B, [A, B, C]], wanted)


def test_what_is_unclear_is_what_usually_follows():
    tokens, counts = flat([[A, B, C]] * 20 + [[A, C]])
    beside = Competitors(tokens, counts, torch.device("cpu"))
    log_probs = torch.full((1, 5, len(TOKENS)), -20.0)
    for frame, (one, other) in enumerate([(A, A), (0, 0), (B, A), (0, 0), (C, C)]):
        log_probs[0, frame, [one, other]] = math.log(0.5)
    said = beside.posteriors(log_probs, torch.tensor([5]))
    assert said[0, 2, B] > 0.9
    torch.testing.assert_close(said.sum(-1), torch.ones(1, 5))
