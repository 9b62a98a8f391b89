"""What a grammar allows is found in its graph, with its meaning; and nothing else is."""

import math
import shutil
from graphlib import TopologicalSorter
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from asr.decoding import automaton, jsgf
from asr.decoding.grammar import Grammar, Known, Match
from asr.decoding.graph import Graph
from asr.decoding.lexicon import TOKENS, Lexicon
from asr.decoding.search import GraphSearch, SearchOptions
from asr.errors import GraphError
from asr.task import Task, Verdict
from tests.decoding.grammars import (
    HEADER,
    HOUSE,
    LEXICON,
    SYLLABLES,
    Rules,
    cost,
    rule_sets,
    utterances,
    written,
)
from tests.decoding.world import frames

HOME = """\
public <setLight> = [please] turn {polite} [the] <room> light <state>;
<room> = (kitchen | living room) {room=kitchen} | hall {room="hall"};
<state> = on {state=on} | off {state=off};
"""


def compiled(rules: str, lexicon: Lexicon = LEXICON) -> Grammar:
    return Grammar.compile(jsgf.parse((HEADER + rules).encode(), "test.jsgf"), lexicon)


def home(rules: str = HOME) -> Grammar:
    return compiled(rules, HOUSE)


def paths(grammar: Grammar, phones: tuple[str, ...]) -> dict[tuple[int, ...], float]:
    """The labels and costs of all paths from the start to a final state over some phones."""
    fst = grammar.graph.fst
    found: dict[tuple[int, ...], float] = {}
    waiting = [(fst.start, 0, (), 0.0)]
    while waiting:
        state, taken, labels, paid = waiting.pop()
        row = fst.states[state]
        if taken == len(phones):
            total = paid + float(row["final"])
            found[labels] = min(total, found.get(labels, math.inf))
        for arc in fst.arcs[row["first"] : row["first"] + row["arcs"]]:
            label, output = int(arc["ilabel"]), int(arc["olabel"])
            if label and (taken == len(phones) or TOKENS[label] != phones[taken]):
                continue
            onward = labels + ((output,) if output else ())
            waiting.append((int(arc["next"]), taken + bool(label), onward, paid + arc["weight"]))
    return {labels: total for labels, total in found.items() if total < math.inf}


def matches(grammar: Grammar, text: str) -> dict[float, list[Match]]:
    """What a text means, in each of its pronunciations, if it is allowed."""
    words = tuple(text.split())
    vocabulary = grammar.graph.vocabulary
    known = [vocabulary[label] for label in range(1, len(vocabulary) + 1)]
    said = {word: [tuple(TOKENS[phone] for phone in way) for way in ways] for word, ways in known}
    found: dict[float, list[Match]] = {}
    for ways in product(*(said.get(word, ()) for word in words)):
        for labels, paid in paths(grammar, sum(ways, ())).items():
            match = grammar.match(labels)
            if match.words == words:
                found.setdefault(paid, []).append(match)
    return found


def meaning(grammar: Grammar, text: str) -> Match:
    """The cheapest match."""
    found = matches(grammar, text)
    assert found, f"{text!r} is not accepted"
    return found[min(found)][0]


def price(grammar: Grammar, text: str) -> float:
    return min(matches(grammar, text), default=math.inf)


def test_words_rule_and_slots():
    assert meaning(home(), "please turn the living room light off") == Match(
        words=("please", "turn", "the", "living", "room", "light", "off"),
        rule="setLight",
        intent="setLight",
        slots={"room": "kitchen", "state": "off"},
        tags=("polite",),
    )
    assert meaning(home(), "turn hall light on").slots == {"room": "hall", "state": "on"}


@pytest.mark.parametrize("text", ["turn light on", "please", "turn the kitchen light", "on turn"])
def test_what_a_grammar_does_not_have_is_not_in_its_graph(text):
    assert not matches(home(), text)


def test_rule_that_was_followed_is_told():
    grammar = home("public <light> = turn <x>; public <room> = kitchen | turn off; <x> = on;")
    assert meaning(grammar, "turn on").rule == meaning(grammar, "turn on").intent == "light"
    assert meaning(grammar, "turn off").intent == meaning(grammar, "kitchen").intent == "room"


def test_tag_sets_the_intent():
    grammar = home("public <any> = turn on {intent=light} {level=1} | room {intent = where};")
    match = meaning(grammar, "turn on")
    assert (match.rule, match.intent, match.slots) == ("any", "light", {"level": "1"})
    assert meaning(grammar, "room").intent == "where"


def test_last_value_of_a_slot_counts():
    grammar = home("public <any> = (on {x=1} | off {x=2} {seen})+;")
    assert meaning(grammar, "on off on off").slots == {"x": "2"}
    assert meaning(grammar, "off off on").slots == {"x": "1"}
    assert meaning(grammar, "off off on").tags == ("seen", "seen")


def test_tag_behind_brackets_counts_whether_or_not_they_are_said():
    grammar = home("public <any> = [please] {asked} turn [off {off}] | room [light] {end};")
    assert meaning(grammar, "please turn").tags == meaning(grammar, "turn").tags == ("asked",)
    assert meaning(grammar, "turn off").tags == ("asked", "off")
    assert meaning(grammar, "room").tags == meaning(grammar, "room light").tags == ("end",)


def test_tag_behind_a_repetition_counts_once():
    grammar = home("public <any> = (on | off)+ {done} [light]* {bright};")
    assert meaning(grammar, "on off on").tags == ("done", "bright")
    assert meaning(grammar, "on light light").tags == ("done", "bright")


def test_more_tags_than_phones():
    grammar = compiled("public <any> = a {x}{y}{z=1} tea {u}{v}{w} | tea {t};")
    assert meaning(grammar, "a tea").tags == ("x", "y", "u", "v", "w")
    assert meaning(grammar, "tea").tags == ("t",)


def test_words_in_the_result_are_of_the_grammar_not_what_sounds_alike():
    grammar = compiled("public <any> = reed {plant} | read {book};")
    assert meaning(grammar, "reed").tags == ("plant",)
    assert meaning(grammar, "read").tags == ("book",)


def test_alternatives_are_as_likely_as_their_weights():
    grammar = compiled("public <any> = /3/ tea | /0.5/ red | /0.5/ (a | pot) | /0/ reed;")
    assert price(grammar, "tea") == pytest.approx(-math.log(3 / 4))
    assert price(grammar, "red") == pytest.approx(-math.log(1 / 8))
    assert price(grammar, "pot") == pytest.approx(-math.log(1 / 16))
    assert price(grammar, "reed") == math.inf


def test_weights_of_what_begins_alike_stay_apart():
    grammar = compiled("public <any> = /3/ tea [pot] | /1/ tea [red];")
    assert price(grammar, "tea pot") == price(grammar, "tea") == pytest.approx(-math.log(3 / 8))
    assert price(grammar, "tea red") == pytest.approx(-math.log(1 / 8))


def test_alternatives_without_weights_are_equally_likely():
    grammar = compiled("public <any> = tea pot | tea red | a;")
    for text in ("tea pot", "tea red", "a"):
        assert price(grammar, text) == pytest.approx(math.log(3))


@given(rule_sets(), st.data(), st.sampled_from((0, 2, 32)))
def test_what_a_grammar_says_is_accepted_with_its_own_tags(rules, data, hub):
    name = data.draw(st.sampled_from(("Go", "Stop")))
    said = data.draw(utterances(rules[name], rules))
    assume(said is not None and 0 < len(said[0]) < 9)
    words, tags = said
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(automaton, "HUB", hub)
        grammar = compiled(written(rules).removeprefix(HEADER))
    found = [match for some in matches(grammar, " ".join(words)).values() for match in some]
    bare = tuple(tag for tag in tags if "=" not in tag)
    slots = {tag.split("=")[0].strip(): tag.split("=")[1].strip() for tag in tags if "=" in tag}
    assert any(
        (match.rule, match.intent, match.slots, match.tags) == (name, name, slots, bare)
        for match in found
    )


@given(rule_sets(), st.lists(st.sampled_from(list(LEXICON)), min_size=1, max_size=5), st.booleans())
def test_what_is_accepted_is_what_the_rules_allow_and_costs_what_they_say(rules, words, hubs):
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(automaton, "HUB", 0 if hubs else 32)
            grammar = compiled(written(rules).removeprefix(HEADER))
    except GraphError as error:
        assert "nothing to be said" in str(error)
        assert cost(words, rules) == math.inf
    else:
        assert price(grammar, " ".join(words)) == pytest.approx(cost(words, rules), abs=1e-4)


@given(rule_sets(), st.sampled_from((0, 2, 32)))
def test_arcs_without_phones_are_few_and_never_lead_back(rules, hub):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(automaton, "HUB", hub)
        try:
            fst = compiled(written(rules).removeprefix(HEADER)).graph.fst
        except GraphError:
            return
    silent = fst.arcs["ilabel"] == 0
    after: dict[int, set[int]] = {}
    for source, arc in zip(fst.sources[silent].tolist(), fst.arcs[silent], strict=True):
        after.setdefault(source, set()).add(int(arc["next"]))
    assert list(TopologicalSorter(after).static_order()) is not None
    assert fst.arcs["weight"].min() >= 0


def test_a_million_sentences_are_a_small_graph():
    several = f"({' | '.join(SYLLABLES)})"
    grammar = compiled(f"public <any> = {several} {several} {several};", SYLLABLES)
    assert len(SYLLABLES) == 100
    assert len(grammar.graph.fst.arcs) < 400
    assert matches(grammar, "ban dit lun")
    assert not matches(grammar, "ban dit")


def test_large_rules_are_there_once():
    many = f"<x> = {' | '.join(SYLLABLES)};"
    lexicon = Lexicon({**SYLLABLES, **LEXICON})
    once = compiled(f"public <any> = <x>; {many}", lexicon)
    often = compiled(
        f"public <c> = [a] red [tea] <x>; public <t> = pot <x> | (tea [<x>])+ | a; {many}", lexicon
    )
    assert len(often.graph.fst.arcs) < 2 * len(once.graph.fst.arcs) + 40
    assert meaning(often, "a red tea ban").rule == "c"
    assert meaning(often, "pot ban").rule == meaning(often, "tea tea lun tea").rule == "t"


def test_phrases_share_what_they_begin_with():
    grammar = Grammar.phrases(["tea pot", "tea  RED", "tea red", "teapot", "a"], LEXICON)
    for text in ("tea pot", "tea red", "teapot", "a"):
        assert meaning(grammar, text).rule == "phrases"
        assert price(grammar, text) == pytest.approx(math.log(4))
    for text in ("tea", "tea a", "pot", "red"):
        assert not matches(grammar, text)
    first = grammar.graph.fst.states[grammar.graph.fst.start]
    assert first["arcs"] == 3  # T, AH, EY


spoken = st.lists(st.sampled_from(list(LEXICON)), min_size=1, max_size=3).map(" ".join)


@given(st.lists(spoken, min_size=1, max_size=8), st.data())
def test_phrases_are_those_of_the_list(phrases, data):
    grammar = Grammar.phrases(phrases, LEXICON)
    other = data.draw(spoken)
    for text in [*phrases, other]:
        expected = math.log(len(set(phrases))) if text in phrases else math.inf
        assert price(grammar, text) == pytest.approx(expected, abs=1e-5)


def test_bad_phrases_are_named():
    with pytest.raises(GraphError, match=r"^names:2:5: cannot pronounce '4th'"):
        Grammar.phrases(["red", "the 4th"], LEXICON, name="names")
    with pytest.raises(GraphError, match=r"^phrases:2:1: a phrase has no words"):
        Grammar.phrases(["red", " ", "tea"], LEXICON)
    with pytest.raises(GraphError, match="nothing to be said"):
        Grammar.phrases([], LEXICON)


@pytest.mark.parametrize("word", ["42", "naïve", "co-op", "@"])
def test_word_that_cannot_be_said_is_named_with_its_place(word):
    with pytest.raises(GraphError, match=rf"^test\.jsgf:4:4: cannot pronounce '{word}'"):
        compiled(f"public <any> = red\n | {word};")


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_words_that_the_lexicon_lacks_are_pronounced():
    grammar = compiled("public <any> = red xylquorp the;")
    vocabulary = grammar.graph.vocabulary
    assert [vocabulary[label][0] for label in (1, 2, 3)] == ["red", "xylquorp", "the"]
    assert matches(grammar, "red xylquorp the")


def test_missing_program_is_told_with_the_word(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(GraphError, match=r"^test\.jsgf:3:20: .*'xylquorp'.*espeak-ng"):
        compiled("public <any> = red xylquorp;")


@pytest.mark.parametrize(
    "rules",
    [
        "public <a> = <VOID>;",
        "public <a> = red <VOID>;",
        "public <a> = <NULL>* [[<b>]]; <b> = <NULL>;",
        "public <a> = /0/ red | /0/ tea;",
    ],
)
def test_grammar_that_allows_nothing_is_refused(rules):
    with pytest.raises(GraphError, match=r"test\.jsgf:1:1: the grammar allows nothing to be said"):
        compiled(rules)


DOUBLING = "".join(f"<r{n}> = <r{n + 1}> {{x{n}}} <r{n + 1}>;" for n in range(40))


@pytest.mark.parametrize(
    "rules",
    [
        f"public <a> = <r0>; {DOUBLING} <r40> = red;",
        f"public <a> = red <r0>; {DOUBLING} <r40> = <NULL>;",
        f"public <a> = {'[red] ' * 500};",
        f"public <a> = {'tea* ' * 500};",
        f"public <a> = ({' | '.join(['tea'] * 200)}) {'{x}' * 200};",
        f"public <a> = tea {'<NULL> {x} ' * 500};",
    ],
    ids=["words", "nothing", "options", "repetitions", "tags", "tagged nothing"],
)
def test_grammar_that_grows_beyond_bounds_is_refused(rules, monkeypatch):
    monkeypatch.setattr(automaton, "MOST_ARCS", 20_000)
    with pytest.raises(GraphError, match="more than 20000 words and tags"):
        compiled(rules)


def test_deepest_grammar_compiles():
    depth = jsgf.MOST_DEPTH
    grammar = compiled(f"public <a> = {'(red {x} | a ' * depth} tea {')* {y}' * depth};")
    assert matches(grammar, "red red a red")


def test_what_is_heard_means_something():
    lexicon = Lexicon.from_text("tea T IY\nred R EH D\nbus B AH S\n")
    source = b"#JSGF V1.0; grammar g; public <want> = (red {colour=red}) (tea | bus {goes=far});"
    grammar = Grammar.compile(jsgf.parse(source, "g"), lexicon)
    search = GraphSearch(Graph.of(grammar.graph))
    words, state = search.step(frames("- R EH D - B AH S -"))
    assert words == ("red", "bus")
    match = grammar.match(search.labels(state))
    assert (match.intent, match.slots) == ("want", {"colour": "red", "goes": "far"})
    assert search.stable(state) <= len(words)


def heard(grammar: Grammar, phones: tuple[str, ...]) -> Verdict:
    """What a search makes of phones that sound like nothing else."""
    tokens = [0, *(token for phone in phones for token in (TOKENS.index(phone), 0))]
    log_probs = np.full((len(tokens), len(TOKENS)), -100, np.float32)
    log_probs[np.arange(len(tokens)), tokens] = 0
    search = GraphSearch(grammar.searched, SearchOptions(beam=60))
    _, state = search.step(log_probs)
    return Task(search, grammar).read(state)


def compiled_with_hubs_of(hub: int, rules: Rules) -> Grammar:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(automaton, "HUB", hub)
        return compiled(written(rules).removeprefix(HEADER))


@given(rule_sets(), st.data(), st.sampled_from((0, 2, 32)))
def test_what_a_grammar_says_is_heard_with_its_own_tags(rules, data, hub):
    said = data.draw(utterances(rules[data.draw(st.sampled_from(("Go", "Stop")))], rules))
    assume(said is not None and 0 < len(said[0]) < 9)
    grammar = compiled_with_hubs_of(hub, rules)
    phones = sum((data.draw(st.sampled_from(LEXICON[word])) for word in said[0]), ())
    verdict = heard(grammar, phones)
    assert verdict.accepted
    assert verdict.confidence > 0.99
    assert verdict.match in [grammar.match(labels) for labels in paths(grammar, phones)]
    assert verdict.match.words == tuple(word.text for word in verdict.words)


@given(rule_sets(), st.lists(st.sampled_from(list(LEXICON)), min_size=1, max_size=6), st.data())
def test_what_is_not_in_a_grammar_is_rejected(rules, words, data):
    try:
        grammar = compiled_with_hubs_of(data.draw(st.sampled_from((0, 2, 32))), rules)
    except GraphError:
        return
    phones = sum((data.draw(st.sampled_from(LEXICON[word])) for word in words), ())
    assert heard(grammar, phones).accepted == bool(paths(grammar, phones))


def test_the_beginning_of_a_sentence_is_shown_and_rejected():
    phones = sum((HOUSE[word][0] for word in ("turn", "the", "kitchen")), ())
    verdict = heard(home(), phones)
    assert (verdict.accepted, verdict.match, verdict.confidence) == (False, None, 0.0)
    assert " ".join(word.text for word in verdict.words) == "turn the kitchen"


def test_a_grammar_is_known_by_what_it_says_and_means():
    assert home().digest == home().digest
    assert home().digest != home(HOME.replace("polite", "kind")).digest
    assert home().digest != home(HOME.replace("hall", "room")).digest
    assert home().digest != home(HOME.replace("[please]", "/3/ please | <NULL>")).digest


def test_a_graphs_own_pronunciations_are_taken():
    lexicon = Known(home().graph.vocabulary)
    assert lexicon["the"] == HOUSE["the"]
    assert "kitchen" in lexicon
    assert "garden" not in lexicon
    assert len(lexicon) == len(list(lexicon)) == len(HOUSE)
    assert price(compiled(HOME, lexicon), "turn hall light on") < math.inf
