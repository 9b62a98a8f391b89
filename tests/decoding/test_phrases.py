"""Phrases are heard where they are asked for, and nowhere else."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoding import jsgf
from asr.decoding.build import build
from asr.decoding.grammar import Grammar
from asr.decoding.graph import Graph
from asr.decoding.lexicon import Lexicon
from asr.decoding.nbest import alternatives
from asr.decoding.ngram import NgramModel, Order
from asr.decoding.phrases import MOST_PHRASES, Phrase, read_phrases, with_phrases
from asr.decoding.search import GraphSearch, SearchOptions
from asr.errors import GraphError
from tests.decoding.world import LEXICON, LIKELY, bigrams, frames, noise, small_graph

WIDE = SearchOptions(beam=60.0, max_active=10_000)
NEW = Lexicon.from_text("zed Z EH D\nbust B AH S T\nshe SH IY\nted T EH D\nted T IY D\n")


def said(graph: Graph, log_probs: np.ndarray, options: SearchOptions = WIDE) -> str:
    return " ".join(GraphSearch(graph, options).step(log_probs)[0])


def rebuilt(boosts: dict[str, float]) -> Graph:
    """A graph made from scratch, of a language model that has the new words too."""
    old = bigrams(LEXICON, LIKELY)
    unigrams, pairs = old.orders
    names = (*old.words, *boosts)
    cost = [boost - math.log(len(LEXICON)) for boost in boosts.values()]
    model = NgramModel(
        names,
        (
            Order(
                np.arange(len(names)),
                np.append(unigrams.log_prob, cost),
                np.append(unigrams.backoff, np.zeros(len(cost))),
            ),
            Order(
                pairs.keys // old.base * len(names) + pairs.keys % old.base,
                pairs.log_prob,
                pairs.backoff,
            ),
        ),
    )
    return Graph.of(build(Lexicon({**LEXICON, **NEW}), model))


def best(graph: Graph, log_probs: np.ndarray) -> tuple[list[str], float]:
    """The best words that are said to their end, for what half a word costs is an estimate."""
    search = GraphSearch(replace(graph, root=None), WIDE)
    (hypothesis,) = alternatives(search, search.step(log_probs)[1], 1)
    return [word.text for word in hypothesis.words], hypothesis.score


@settings(max_examples=60)
@given(
    boosts=st.dictionaries(
        st.sampled_from(["zed", "bust", "she"]), st.sampled_from([0, 2, 6]), min_size=1
    ),
    seed=st.integers(0, 10_000),
    count=st.integers(1, 40),
)
def test_new_words_count_as_in_a_graph_rebuilt_with_them(boosts, seed, count):
    phrases = [Phrase(word, boost) for word, boost in boosts.items()]
    added = with_phrases(Graph.of(small_graph()), phrases, NEW)
    log_probs = noise(count, seed)
    (words, score), (expected, same_score) = (
        best(added, log_probs),
        best(rebuilt(boosts), log_probs),
    )
    assert score == pytest.approx(same_score, abs=0.3)  # built graphs round what arcs cost
    assert words == expected or score > same_score - 0.3


@given(seed=st.integers(0, 10_000), count=st.integers(0, 40))
def test_phrases_that_are_not_said_change_nothing(graph, seed, count):
    phrases = [Phrase("zed teapot"), Phrase("zed stop")]
    log_probs = noise(count, seed)
    log_probs[:, Z] = -100.0
    assert said(with_phrases(graph, phrases, NEW), log_probs) == said(graph, log_probs)


Z = 38
ZED = "- B AH S - Z EH D - S T AA P -"


def test_a_name_is_heard_only_with_its_phrase(graph):
    assert "zed" not in said(graph, frames(ZED))
    assert said(with_phrases(graph, [Phrase("zed")], NEW), frames(ZED)) == "bus zed stop"


def test_a_phrase_may_begin_and_end_what_is_said(graph):
    made = with_phrases(graph, [Phrase("zed"), Phrase("zed she")], NEW)
    assert said(made, frames("- Z EH D -")) == "zed"
    assert said(made, frames("Z EH D SH IY")) == "zed she"
    assert said(made, frames("- Z EH D - Z EH D - SH IY - Z EH D")) == "zed zed she zed"


def test_words_of_a_phrase_have_their_own_times(graph):
    made = GraphSearch(with_phrases(graph, [Phrase("zed she")], NEW), WIDE)
    words = made.words(made.step(frames("- Z Z EH D - - SH IY IY -"))[1])
    assert [(w.text, w.start, w.end) for w in words] == [("zed", 1, 5), ("she", 7, 10)]


def test_after_a_phrase_the_language_model_goes_on(graph):
    made = with_phrases(graph, [Phrase("stop bus", 2.0), Phrase("zed a", 2.0)], NEW)
    assert said(made, frames("- S T AA P - B AH S - R IY D -")) == "stop bus read"
    assert said(made, frames("- Z EH D - AH - R IY D -")) == "zed a reed"
    assert said(made, frames("- Z EH D - AH - T IY -")) == "zed a tee"


def test_boosts_decide_between_what_sounds_alike(graph):
    either = "- B AH S - T IY -"
    assert (
        said(with_phrases(graph, [Phrase("tee", 1), Phrase("tea", 2)]), frames(either)) == "bus tea"
    )
    assert (
        said(with_phrases(graph, [Phrase("tee", 2), Phrase("tea", 1)]), frames(either)) == "bus tee"
    )


def test_every_pronunciation_of_a_name_counts(graph):
    made = with_phrases(graph, [Phrase("ted zed")], NEW)
    for vowel in ("EH", "IY"):
        assert said(made, frames(f"- T {vowel} D - Z EH D -")) == "ted zed"


def test_a_pronunciation_may_stand_in_the_phrase(graph):
    made = with_phrases(graph, [Phrase("Bus /B UW S/ /B AO S/ stop")])
    assert said(made, frames("- B UW S - S T AA P -")) == "bus stop"
    assert said(made, frames("- B AO S - S T AA P -")) == "bus stop"


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_names_that_nobody_knows_are_said_by_espeak(graph):
    made = with_phrases(graph, [Phrase("zedodad")])
    (_, ways) = made.vocabulary[len(graph.vocabulary) + 1]
    spelled = " ".join(Lexicon.pronounce(["zedodad"])["zedodad"][0])
    assert len(ways) == 1
    assert said(made, frames(f"- {spelled} -")) == "zedodad"


def test_any_cut_gives_the_same(graph):
    made = GraphSearch(with_phrases(graph, [Phrase("zed"), Phrase("<unk>")], NEW), WIDE)
    log_probs = frames(f"{ZED} F AO F UW -")
    state = None
    for frame in log_probs:
        texts, state = made.step(frame[None], state)
    assert texts == ("bus", "zed", "stop", "<unk>")
    assert made.words(state) == made.words(made.step(log_probs)[1])


def test_an_unknown_word_is_marked(graph):
    strange = "- B AH S - F AO F UW V - B AH S -"
    assert "<unk>" not in said(graph, frames(strange))
    made = GraphSearch(with_phrases(graph, [Phrase("<unk>", 6)]), WIDE)
    words = made.words(made.step(frames(strange))[1])
    assert [(w.text, w.start, w.end) for w in words] == [
        ("bus", 1, 4),
        ("<unk>", 5, 10),
        ("bus", 11, 14),
    ]


def test_streams_do_not_hear_each_others_phrases(graph):
    before = graph.arcs.copy()
    one = with_phrases(graph, [Phrase("zed")], NEW)
    other = with_phrases(graph, [Phrase("ted")], NEW)
    assert said(one, frames(ZED)) == "bus zed stop"
    assert "zed" not in said(other, frames(ZED))
    assert said(other, frames("- T EH D -")) == "ted"
    assert "zed" not in said(graph, frames(ZED))
    assert np.array_equal(graph.arcs, before)


def test_the_file_on_the_disk_does_not_change_and_may_go(tmp_path, cache):
    small_graph().save(tmp_path / "small.graph")
    graph = Graph.load(tmp_path / "small.graph")
    (file,) = cache.iterdir()
    content = file.read_bytes()
    assert said(with_phrases(graph, [Phrase("zed")], NEW), frames(ZED)) == "bus zed stop"
    assert file.read_bytes() == content
    file.unlink()
    assert said(with_phrases(graph, [Phrase("zed")], NEW), frames(ZED)) == "bus zed stop"


def test_graphs_in_memory_take_phrases_too():
    graph = Graph.of(small_graph())
    assert said(with_phrases(graph, [Phrase("zed")], NEW), frames(ZED)) == "bus zed stop"


def test_no_phrases_are_no_change(graph):
    assert with_phrases(graph, []) is graph


HOME = """#JSGF V1.0;
grammar home;
public <command> = (read | reed {stem}) a tea | a tee {peg} stop;
"""


@pytest.fixture(scope="module")
def home() -> Grammar:
    return Grammar.compile(jsgf.parse(HOME.encode(), "home.jsgf"), LEXICON)


def test_in_a_grammar_a_phrase_is_likelier(home):
    graph = Graph.of(home.graph)
    heard = frames("- R IY D - AH - T IY -")
    for text in ("read", "reed"):
        search = GraphSearch(with_phrases(graph, [Phrase(f"{text} a", 1)]), WIDE)
        _, state = search.step(heard)
        match = home.match(search.labels(search.finished(state)))
        assert match.words == (text, "a", "tea")
        assert match.tags == (("stem",) if text == "reed" else ())


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("a bus", "it cannot occur, for the grammar has no word 'bus'"),
        ("a /EY/", "the grammar's lexicon says how words are said"),
        ("<unk>", "cannot"),
    ],
)
def test_what_a_grammar_never_says_is_refused(home, text, wrong):
    with pytest.raises(GraphError, match=f"phrase {text!r}: .*{wrong}"):
        with_phrases(Graph.of(home.graph), [Phrase("tea"), Phrase(text)])


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "it has no words"),
        (" \t", "it has no words"),
        ("turn 3", "cannot pronounce '3': .* spell numbers"),
        ("naïve", "cannot pronounce 'naïve'"),
        ("a\x00b", "cannot pronounce"),
        ("/S OW/ so", "has to follow the word"),
        ("so /S OW", "a pronunciation does not end"),
        ("so /S XX/", "expected phones out of AA .* got 'S XX'"),
        ("so //", "expected phones out of AA"),
        ("a " * 21, "at most 20 words"),
        ("red " * 10**6, "at most 20 words"),
        ("so" * 10**6, "at most 60 letters"),
        ("so " + "/S OW/ " * 10**5, "more than 10 ways"),
        (f"so /{'S ' * 61}/", "at most 60 phones"),
        ("' a", 'cannot pronounce "\'"'),
    ],
)
def test_wrong_phrases_are_named(graph, text, wrong):
    with pytest.raises(GraphError, match=f"(?s)^phrase .{{,80}}: .*{wrong}"):
        with_phrases(graph, [Phrase("bus"), Phrase(text)])


@pytest.mark.parametrize("boost", [-1.0, 51.0, math.nan, math.inf])
def test_boosts_have_bounds(boost):
    with pytest.raises(GraphError, match="phrase 'bus': expected a boost of 0 to 50 nats"):
        Phrase("bus", boost)


def test_too_many_are_refused(graph):
    with pytest.raises(GraphError, match=f"at most {MOST_PHRASES} phrases"):
        with_phrases(graph, (Phrase("bus") for _ in range(10**9)))
    pairs = [f"{one} {two}" for one in LEXICON for two in LEXICON]
    long = [Phrase(f"{a} {b} {a} {b} {b} {a} {b} {a}") for a in pairs for b in pairs]
    with pytest.raises(GraphError, match="phones are too many to add"):
        with_phrases(graph, long[:MOST_PHRASES])


def test_phrases_are_given_at_once(graph):
    with pytest.raises(GraphError, match="has phrases already"):
        with_phrases(with_phrases(graph, [Phrase("bus")]), [Phrase("stop")])


def test_a_file_of_phrases(tmp_path: Path):
    path = tmp_path / "names.txt"
    path.write_text("\ufeff# at home\nturn left :6\n\nSiobhan /SH AH V AO N/ : 2.5\n  <unk>  \n")
    assert read_phrases(path) == [
        Phrase("turn left", 6.0),
        Phrase("Siobhan /SH AH V AO N/", 2.5),
        Phrase("<unk>"),
    ]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("turn left :much", "phrase 'turn left': expected a number behind the colon, got 'much'"),
        ("turn left :99", "phrase 'turn left': expected a boost of 0 to 50 nats"),
        (":3", "phrase '': it has no words"),
        ("turn 3", "phrase 'turn 3': cannot pronounce '3'"),
    ],
)
def test_wrong_lines_are_named(tmp_path, line, wrong):
    path = tmp_path / "names.txt"
    path.write_text(f"stop\n{line}\n")
    with pytest.raises(GraphError, match=rf"names\.txt, line 2: {wrong}"):
        read_phrases(path)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_files_that_cannot_be_read_are_named(tmp_path, content):
    path = tmp_path / "names.txt"
    if content:
        path.write_bytes(content)
    with pytest.raises(GraphError, match=r"cannot read the phrases .*names\.txt"):
        read_phrases(path)


@settings(max_examples=200)
@given(st.text(max_size=40))
def test_any_text_is_a_phrase_or_a_named_error(text):
    try:
        words = Phrase(text).words()
    except GraphError as error:
        assert str(error).startswith("phrase ")
    else:
        assert words
