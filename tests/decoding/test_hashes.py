"""Words are told apart by numbers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from asr.decoding.hashes import BASE, line_hashes, word_hashes
from asr.decoding.lexicon import Lexicon
from asr.decoding.vocabulary import Vocabulary

WORD = st.text("abcdefghijklmnopqrstuvwxyz'", min_size=1, max_size=30)


@given(st.lists(WORD, unique=True))
def test_different_words_have_different_numbers(words):
    assert len({*word_hashes(words).tolist(), 0}) == len(words) + 1


@given(st.lists(WORD))
def test_a_word_has_the_same_number_wherever_it_stands(words):
    alone = [int(word_hashes([word])[0]) for word in words]
    assert word_hashes(words).tolist() == alone
    lines = "".join(f"{word} B AH S / AH\n" for word in words)
    assert line_hashes(np.frombuffer(lines.encode(), np.uint8)).tolist() == alone


def test_every_label_of_a_vocabulary_has_the_number_of_its_word():
    base = Vocabulary.of(Lexicon.from_text("a AH\nbus B AH S\n"))
    more = base.extended([("stop", (("S", "T", "AA", "P"),)), ("bus", (("B",),))])
    assert more.hashes[0] == 0
    assert np.array_equal(more.hashes[1:], word_hashes(["a", "bus", "stop", "bus"]))
    assert [more[label][0] for label in range(1, 5)] == ["a", "bus", "stop", "bus"]


@given(st.lists(st.tuples(WORD, WORD), unique=True))
def test_different_pairs_of_words_have_different_numbers(pairs):
    pairs = [("read", "tee"), ("reed", "tea"), *pairs]
    first, second = (word_hashes(words) for words in zip(*pairs, strict=True))
    assert len(set((first * BASE + second).tolist())) == len(set(pairs))
