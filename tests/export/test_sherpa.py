"""sherpa-onnx, as it is installed, hears in the exported twin what Rill hears.

The older version is in the folder that RILL_OLD_SHERPA names, or .venv/sherpa-onnx-1.12.
"""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jiwer
import numpy as np
import onnx
import pytest

import asr
from asr.acoustic import AcousticModel
from asr.bundle import Bundle
from asr.decoding.graph import Graph
from asr.decoding.greedy import GreedySearch
from asr.decoding.lexicon import TOKENS
from asr.decoding.search import GraphSearch, SearchOptions
from asr.errors import ExportError
from asr.export import sherpa
from asr.export.source import Source
from asr.export.verify import sound
from asr.nn.cells import CELLS
from tests.decoding.world import small_graph
from tests.models import export_tiny, pair, tiny
from tests.speech import ROOT, utterances

HEAR = Path(__file__).with_name("hear.py")
OLD = Path(os.environ.get("RILL_OLD_SHERPA", ROOT / ".venv" / "sherpa-onnx-1.12"))
FRAME = 640
SILENCE = np.zeros(4800, np.float32)
"""Before a clip: at the very beginning Kaldi mirrors the signal, and Rill does not."""
NEWEST, OLDER = "newest", "older"


def hear(version, folder, clips, model="model.onnx", graph="", together=False, endpoints=False):
    """What sherpa-onnx hears in clips with the padding that the model asks for."""
    if version == OLDER and not OLD.is_dir():
        pytest.skip(f"no older sherpa-onnx at {OLD}; set RILL_OLD_SHERPA to where it is")
    if version == NEWEST and not importlib.util.find_spec("sherpa_onnx"):
        pytest.skip("sherpa-onnx is not installed")
    path = folder.parent / "clips.npz"
    np.savez(path, **{f"{i:03}": clip for i, clip in enumerate(clips)})
    ways = "together" if together else "alone", "endpoints" if endpoints else "whole"
    done = subprocess.run(
        [sys.executable, HEAR, folder, model, graph, path, *ways],
        env={**os.environ, **({"PYTHONPATH": str(OLD)} if version == OLDER else {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def padded(clip, model):
    silence = np.zeros(round(16_000 * sherpa.padding(model)), np.float32)
    return np.concatenate([SILENCE, clip, silence])


def rill(bundle, clip, precision="fp32"):
    """What Rill hears in the same, to the end that a flush would decode."""
    acoustic = AcousticModel(bundle, precision=precision)
    settings = bundle.settings
    clip = np.concatenate([SILENCE, clip])
    behind = (settings.delay + settings.tail) * FRAME + -len(clip) % FRAME
    log_probs, _ = acoustic.step(np.pad(clip, (0, behind))[None])
    texts, _ = GreedySearch(bundle.tokens).step(log_probs[0, settings.delay :])
    return [*texts]


def whole_chunks(bundle, clip):
    """Rill's log-probabilities of what sherpa-onnx decodes: whole chunks, but the last."""
    features = (len(clip) + 80) // 160
    frames = (features - 1) // sherpa.CHUNK * sherpa.CHUNK // 4
    log_probs, _ = AcousticModel(bundle, precision="fp32").step(
        np.pad(clip, (0, -len(clip) % FRAME))[None]
    )
    return log_probs[0, bundle.settings.delay : frames]


def words_in_whole_chunks(bundle, clip, search):
    """What Rill finds in them."""
    _, state = search.step(whole_chunks(bundle, clip))
    return [word.text for word in search.finish(state)]


MODELS = [*((tiny, cell, 3) for cell in CELLS), (tiny, "gru", 0), (pair, "gru", 3)]


@pytest.fixture(scope="module", params=MODELS, ids=lambda p: f"{p[0].__name__}-{p[1]}-{p[2]}")
def twin(request, tmp_path_factory):
    make, *shape = request.param
    model = make(*shape)
    folder = tmp_path_factory.mktemp("models")
    sherpa.export(model, TOKENS, folder / "twin")
    bundle = Bundle.open(export_tiny(folder / "tiny", model, int8=True))
    return model, folder / "twin", bundle


def test_the_tokens_are_those_of_rill(twin):
    """Of streams at once as of streams alone."""
    model, folder, bundle = twin
    clips = sound(5)
    heard = hear(NEWEST, folder, [padded(clip, model) for clip in clips], together=True)
    wants = [rill(bundle, clip) for clip in clips]
    assert sum(map(len, wants)) > 20
    for want, (segment,) in zip(wants, heard, strict=True):
        assert segment["tokens"][: len(want)] == want


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The model that ships, for Rill and for sherpa-onnx."""
    source = Source.open(ROOT / "models" / "en-small")
    folder = tmp_path_factory.mktemp("models") / "twin"
    sherpa.export(source.model, source.tokens, folder)
    return source.model, folder, Bundle.open(ROOT / "models" / "en-small")


@pytest.fixture(scope="module")
def recognizer():
    return asr.load(ROOT / "models" / "en-small")


@pytest.mark.parametrize("version", [NEWEST, OLDER])
def test_fifty_real_utterances(shipped, version):
    model, folder, bundle = shipped
    clips = [utterance.samples for utterance in utterances("dev", 50)]
    heard = hear(version, folder, [padded(clip, model) for clip in clips])
    assert [segment["tokens"] for (segment,) in heard] == [rill(bundle, clip) for clip in clips]


def test_fifty_real_utterances_in_int8(shipped):
    model, folder, bundle = shipped
    if bundle.settings.int8 is None:
        pytest.skip("the model that ships has no int8")
    clips = [utterance.samples for utterance in utterances("dev", 50)]
    heard = hear(NEWEST, folder, [padded(clip, model) for clip in clips], "model.int8.onnx")
    want = [" ".join(rill(bundle, clip, "int8")) for clip in clips]
    assert jiwer.wer(want, [" ".join(segment["tokens"]) for (segment,) in heard]) < 0.01


def test_after_an_endpoint_it_goes_on(shipped):
    """Two utterances with a pause between them are two segments, each whole."""
    model, folder, bundle = shipped
    first, second = (utterance.samples for utterance in utterances("dev", 2))
    pause = np.zeros(16_000, np.float32)
    clip = np.concatenate([first, pause, second, pause])
    (heard,) = hear(NEWEST, folder, [padded(clip, model)], endpoints=True)
    said = [segment["tokens"] for segment in heard if segment["tokens"]]
    assert len(said) >= 2
    got = [token for tokens in said for token in tokens]
    assert jiwer.wer(" ".join(rill(bundle, clip)), " ".join(got)) < 0.1


@pytest.mark.parametrize("version", [NEWEST, OLDER])
def test_the_graph_gives_the_words_of_rill(tmp_path, monkeypatch, shipped, version):
    """Scale and priors included; the words need not be those that were said."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model, _, bundle = shipped
    small_graph().save(tmp_path / "graph")
    priors = np.random.default_rng(0).dirichlet(np.full(len(TOKENS), 5)).tolist()
    options = {"acoustic_scale": 0.7, "prior_scale": 0.4, "priors": priors}
    folder = tmp_path / "twin"
    sherpa.export(model, TOKENS, folder, graph=tmp_path / "graph", search=options, int8=False)
    clips = [padded(utterance.samples, model) for utterance in utterances("dev", 10)]
    heard = hear(version, folder, clips, graph=sherpa.GRAPH)
    lines = (folder / sherpa.WORDS).read_text(encoding="utf-8").splitlines()
    names = {int(number): word for word, number in (line.split(" ") for line in lines)}
    search = GraphSearch(Graph.load(tmp_path / "graph"), SearchOptions(**options))
    wants = [words_in_whole_chunks(bundle, clip, search) for clip in clips]
    assert len({word for want in wants for word in want}) > 5
    assert [[names[word] for word in segment["words"]] for (segment,) in heard] == wants


JSGF = """\
#JSGF V1.0;
grammar kept;
public <said> = (<first> | <other>)+ {kept=yes};
<first> = %s;
<other> = it {pronoun=it} | the | and | of;
"""


@pytest.mark.parametrize("kind", ["grammar", "word list"])
def test_a_grammar_gives_the_words_and_tags_of_rill(tmp_path, shipped, recognizer, kind):
    """With the beam that sherpa-onnx has; what Rill rejects is nothing there."""
    model, folder, bundle = shipped
    said = utterances("dev", 12)
    if kind == "grammar":
        words = dict.fromkeys(word for utterance in said[:6] for word in utterance.text.split())
        (tmp_path / "kept.jsgf").write_text(JSGF % " | ".join(words))
        grammar = recognizer.grammar(tmp_path / "kept.jsgf")
    else:
        grammar = recognizer.word_list([utterance.text for utterance in said[:8]])
    options = SearchOptions(**bundle.settings.search)
    sherpa.write_graph(grammar.graph, options, folder / "grammar.fst")
    clips = [padded(utterance.samples, model) for utterance in said]
    heard = hear(NEWEST, folder, clips, graph="grammar.fst")
    own = replace(options.in_grammar, beam=16 * options.acoustic_scale)
    search = GraphSearch(grammar.searched, own)
    ends = [search.step(whole_chunks(bundle, clip))[1] for clip in clips]
    wants = [search.labels(search.finished(state)) for state in ends]
    assert [tuple(segment["words"]) for (segment,) in heard] == wants
    assert sum(map(bool, wants)) >= 8
    if kind == "grammar":
        names = sherpa.word_names(grammar.graph, grammar.tags)
        assert {"{kept=yes}", "{pronoun=it}", "the"} <= {names[n] for want in wants for n in want}


def test_a_wrong_twin_is_refused_and_nothing_is_written(tmp_path, monkeypatch):
    def build_wrong(*arguments):
        proto = build_twin(*arguments)
        for node in proto.graph.node:
            for attribute in node.attribute:
                if attribute.name == "linear_before_reset":
                    attribute.i = 1 - attribute.i
        return proto

    build_twin = sherpa.build_twin
    monkeypatch.setattr(sherpa, "build_twin", build_wrong)
    with pytest.raises(ExportError, match="off torch"):
        sherpa.export(tiny(), TOKENS, tmp_path / "twin")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    with pytest.raises(ExportError, match="name a folder"):
        sherpa.export(tiny(), TOKENS, tmp_path)


def test_the_card_names_the_padding(tmp_path):
    model = tiny("gru", 3)
    sherpa.export(model, TOKENS, tmp_path / "twin", int8=False)
    # 3 frames ahead, 3 of silence, a chunk of 4: 40 ms each; and the rest of a frame, 30 ms
    assert sherpa.padding(model) == pytest.approx(10 * 0.04 + 0.03)
    card = (tmp_path / "twin" / "README.md").read_text()
    assert "0.43 s of zeros" in card
    assert {path.name for path in (tmp_path / "twin").iterdir()} == {
        "README.md",
        "model.onnx",
        "tokens.txt",
    }


def test_the_file_says_what_it_is():
    proto = sherpa.build_twin(tiny(), "phones", {"license": "MIT"})
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    assert properties["license"] == "MIT"
    assert properties["model_type"] == "zipformer2"
    assert len(proto.graph.input) == len(proto.graph.output) == 9
    onnx.checker.check_model(proto)
