"""Training of a language model on a language whose entropy is known."""

import math
import re
import subprocess

import pytest
import torch

from asr.errors import ModelError, TrainingError
from asr.nn.language import LanguageModel
from asr.training.language import LanguageTrainer
from asr.training.sentences import LanguageTraining, padded
from tests.decoding.world import small_graph
from tests.language import SENTENCES, configuration, trained
from tests.training.test_trainer import RECIPES


@pytest.fixture
def graph(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    small_graph().save(tmp_path / "small.graph")
    return tmp_path / "small.graph"


def test_it_learns_all_that_there_is_to_know(tmp_path, graph, capsys):
    model = trained(tmp_path, graph)
    said = re.findall(
        r"perplexity \(by scores\): text ([\d.]+) \(([\d.]+)\)", capsys.readouterr().out
    )
    exact, by_scores = map(float, said[-1])
    words = sum(len(sentence.split()) + 1 for sentence in SENTENCES)
    least = math.exp(len(SENTENCES) * math.log(len(SENTENCES)) / words)
    assert least - 0.02 < exact < least * 1.05
    assert by_scores == pytest.approx(exact, rel=0.1)
    assert set(" ".join(SENTENCES).split()) <= set(model.words)


def test_its_scores_sum_up_to_one(tmp_path, graph):
    model = trained(tmp_path, graph)
    ids = [[2 + model.words.index(w) for w in sentence.split()] for sentence in SENTENCES]
    words = padded([torch.tensor(one, dtype=torch.int32).numpy() for one in ids])
    there = words[:, 1:] >= 0
    with torch.inference_mode():
        rows = model(words[:, :-1].clamp(min=0))[there]
        total = (rows @ model.table.weight.T + model.bias).logsumexp(-1)
    assert total.abs().mean() < 0.1


@pytest.mark.parametrize("muon_rate", [0.0, 0.02])
def test_an_interrupted_run_goes_on_exactly(tmp_path, graph, monkeypatch, muon_rate):
    path = configuration(tmp_path, graph, words=8000, checkpoint_minutes=0, muon_rate=muon_rate)
    whole = LanguageTrainer(LanguageTraining.load(path), tmp_path / "whole")
    whole.run()
    first = LanguageTrainer(LanguageTraining.load(path), tmp_path / "parts")
    update = first._update

    def interrupted(words):
        if first.step == 9:
            raise KeyboardInterrupt
        return update(words)

    monkeypatch.setattr(first, "_update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = LanguageTrainer(LanguageTraining.load(path), tmp_path / "parts")
    assert second.step == 9
    second.run()
    ends = [LanguageModel.load(tmp_path / name / "model.pt")[0] for name in ("whole", "parts")]
    for a, b in zip(ends[0].parameters(), ends[1].parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("muon_rate", [0.0, 0.02])
def test_two_processes_train_as_one(tmp_path, graph, muon_rate):
    """Through torchrun and gloo, and their state is whole in the checkpoint."""
    path = configuration(
        tmp_path, graph, words=3000, samples=1000, muon_rate=muon_rate, checkpoint_minutes=0
    )
    start = LanguageTrainer(LanguageTraining.load(path), tmp_path / "one")
    before = start.model.cell.weight_hh_l0.detach().clone()
    start.run()
    command = ["torchrun", "--standalone", "--nproc-per-node=2", "--no-python", "asr", "lm"]
    subprocess.run([*command, "train", path, "-o", tmp_path / "two"], check=True, timeout=300)
    one, two = (torch.load(tmp_path / name / "latest.pt") for name in ("one", "two"))
    assert one["step"] == two["step"] > 10
    assert len(one["optimisers"]) == len(two["optimisers"]) == 1 + (muon_rate > 0)
    moved = (one["model"]["cell.weight_hh_l0"] - before).norm()
    apart = one["model"]["cell.weight_hh_l0"] - two["model"]["cell.weight_hh_l0"]
    assert apart.norm() < 0.3 * moved  # products in bfloat16, and Muon makes small things large


def test_another_configuration_is_refused(tmp_path, graph):
    path = configuration(tmp_path, graph, words=800)
    LanguageTrainer(LanguageTraining.load(path), tmp_path / "run").run()
    path = configuration(tmp_path, graph, words=1600)
    with pytest.raises(TrainingError, match="another configuration"):
        LanguageTrainer(LanguageTraining.load(path), tmp_path / "run")


@pytest.mark.parametrize(
    "text", ["words: 3", "- a list", "graph: [", "graph: a\ntexts: {}\nsize: 3"]
)
def test_a_wrong_configuration(tmp_path, text):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(TrainingError, match=r"wrong\.yaml"):
        LanguageTraining.load(path)


def test_the_recipe_is_valid():
    config = LanguageTraining.load(RECIPES / "en-language.yaml")
    assert sum(config.texts.values()) == pytest.approx(1)


def test_no_text(tmp_path, graph):
    path = configuration(tmp_path, graph)
    (tmp_path / "text.txt").write_text("\n\n")
    with pytest.raises(TrainingError, match="no sentences"):
        LanguageTrainer(LanguageTraining.load(path), tmp_path / "run")


def test_no_checkpoint(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="not a checkpoint"):
        LanguageModel.load(tmp_path / "model.pt")
