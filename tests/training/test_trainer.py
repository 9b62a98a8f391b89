"""A run learns, resumes exactly, and stops where it has to."""

import dataclasses
import json
import subprocess
import tarfile
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lhotse import CutSet

import asr.training
from asr.errors import TrainingError
from asr.nn.encoder import EncoderConfig
from asr.nn.model import CtcModel, joined
from asr.training.augment import Augmentation
from asr.training.batches import collate, epoch_batches, whole_batches
from asr.training.config import TrainConfig
from asr.training.features import CODED, IN_ROOM, feature_store
from asr.training.prepare import prepare_shards
from asr.training.trainer import Trainer
from tests.models import export_tiny

RECIPES = Path(asr.training.__file__).parent / "recipes"
WORDS = {"one": 300, "two": 500, "three": 800, "four": 1200, "five": 1900}
"""Each word is a beep of its own pitch, so that a tiny model can tell them apart."""


def beeps(text: str) -> np.ndarray:
    time = np.arange(8000) / 16_000
    tones = [np.sin(2 * np.pi * WORDS[word] * time) * np.hanning(8000) for word in text.split()]
    return np.concatenate(tones) * 0.3


@pytest.fixture(scope="module")
def manifests(tmp_path_factory):
    """A corpus in the layout of the shared speech, prepared."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split, size in (("train", 12), ("dev", 3)):
        lines = []
        with tarfile.open(source / f"{split}-00.tar", "w") as archive:
            for number in range(size):
                text = " ".join(rng.choice(list(WORDS), rng.integers(1, 4)))
                samples = beeps(text)
                path = source / f"{split}{number}.opus"  # a WAV; the content tells, not the name
                with wave.open(str(path), "wb") as file:
                    file.setnchannels(1)
                    file.setsampwidth(2)
                    file.setframerate(16_000)
                    file.writeframes((samples * 32767).astype("<i2").tobytes())
                archive.add(path, path.name)
                lines.append(
                    {
                        "id": path.stem,
                        "shard": f"{split}-00.tar",
                        "source": "beeps",
                        "speaker": "sine",
                        "duration": len(samples) / 16_000,
                        "text": text,
                    }
                )
        (source / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert [split.utterances for split in prepare_shards(source, target)] == [12, 3]
    return target


@pytest.fixture(scope="module")
def config(manifests) -> TrainConfig:
    return TrainConfig(
        train=manifests / "train.jsonl.gz",
        dev=manifests / "dev.jsonl.gz",
        cache=manifests / "features",
        encoder=EncoderConfig(hidden=24, layers=2, channels=16, lookahead=2),
        speeds=(1.0,),
        epochs=2,
        batch_seconds=6.0,
        learning_rate=0.01,
        warmup_steps=5,
        average=0.9,
        augmentation=Augmentation(frequency_masks=1, time_masks=1),
        checkpoint_minutes=0,
    )


def weights(run) -> dict[str, torch.Tensor]:
    return CtcModel.load(run / "model-last.pt")[0].state_dict()


@pytest.fixture(scope="module")
def learnt(config, tmp_path_factory):
    """The folder of a run that was long enough."""
    folder = tmp_path_factory.mktemp("learnt")
    plain = Augmentation(frequency_masks=0, time_masks=0)
    longer = dataclasses.replace(config, epochs=100, augmentation=plain, checkpoint_minutes=60)
    Trainer(longer, folder).run()
    return folder


def test_a_run_learns(config, learnt):
    model, metadata = CtcModel.load(learnt / "model.pt")
    assert metadata["dev"] < 0.5  # at first every phone is wrong
    assert model.encoder.config == config.encoder
    assert any(path.name.startswith("events") for path in learnt.iterdir())


@pytest.mark.parametrize("saves", [1, 3, 5])
def test_a_resumed_run_ends_as_the_uninterrupted_one(config, tmp_path, monkeypatch, saves):
    config = dataclasses.replace(config, muon_rate=0.02)
    Trainer(config, tmp_path / "whole").run()

    save, done = Trainer.save, []

    def interrupted(self):
        save(self)
        done.append(self.step)
        if len(done) == saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Trainer(config, tmp_path / "cut").run()
    monkeypatch.undo()
    torch.manual_seed(99)
    resumed = Trainer(config, tmp_path / "cut")
    assert resumed.step == done[-1] > 0
    resumed.run()
    torch.testing.assert_close(
        weights(tmp_path / "cut"), weights(tmp_path / "whole"), atol=0, rtol=0
    )


@pytest.mark.parametrize(("capability", "quick"), [("AVX512", True), ("AVX2", False)])
def test_a_processor_slow_at_bfloat16_computes_in_floats(
    config, tmp_path, monkeypatch, capsys, capability, quick
):
    """Such a processor would take 40 times longer."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    trainer = Trainer(dataclasses.replace(config, muon_rate=0.02), tmp_path)
    assert [each.bfloat16 for each in trainer.optimisers.each[1:]] == [quick]
    kinds = set()
    whole = CtcModel.whole

    def watched(self, *arguments):
        kinds.add(torch.is_autocast_enabled("cpu"))
        return whole(self, *arguments)

    monkeypatch.setattr(CtcModel, "whole", watched)
    trainer.run()
    assert kinds == {quick}
    assert ("32-bit floats" in capsys.readouterr().out) is not quick


@pytest.mark.parametrize("muon_rate", [0.0, 0.02], ids=["AdamW", "Muon"])
def test_two_processes_train_as_one(config, tmp_path, muon_rate):
    """On the same total batches, through torchrun and gloo; only rounding differs.

    The recipe of the two has another seed, in whose place they are given that of the one.
    """
    same = dataclasses.replace(
        config,
        encoder=dataclasses.replace(config.encoder, dropout=0.0),
        augmentation=Augmentation(frequency_masks=0, time_masks=0),
        batch_seconds=100.0,
        joined_seconds=0.1,
        epochs=4,
        muon_rate=muon_rate,
        crf=0.5,
        bfloat16=False,
        checkpoint_minutes=60,
    )
    Trainer(same, tmp_path / "one").run()
    recipe = tmp_path / "two.yaml"
    recipe.write_text(yaml.safe_dump({**same.to_dict(), "seed": same.seed + 1}))
    command = ["torchrun", "--standalone", "--nproc-per-node=2", "--no-python", "asr", "train"]
    arguments = [recipe, "-o", tmp_path / "two", "--seed", str(same.seed)]
    subprocess.run([*command, *arguments], check=True, timeout=300)
    two, one = (CtcModel.load(tmp_path / name / "model-last.pt") for name in ("two", "one"))
    assert two[1]["step"] == one[1]["step"] > 2
    torch.testing.assert_close(two[0].state_dict(), one[0].state_dict())
    states = [torch.load(tmp_path / name / "latest.pt")["optimisers"] for name in ("two", "one")]
    torch.testing.assert_close(*states)


def test_a_run_goes_on_from_a_model(config, tmp_path):
    Trainer(config, tmp_path / "first").run()
    model = tmp_path / "first" / "model-last.pt"
    second = Trainer(dataclasses.replace(config, start=model), tmp_path / "second")
    torch.testing.assert_close(second.model.state_dict(), CtcModel.load(model)[0].state_dict())
    assert second.step == 0
    folder = export_tiny(tmp_path / "folder", CtcModel.load(model)[0])
    third = Trainer(dataclasses.replace(config, start=folder), tmp_path / "third")
    torch.testing.assert_close(third.model.state_dict(), second.model.state_dict())
    other = dataclasses.replace(config.encoder, layers=config.encoder.layers + 1)
    with pytest.raises(TrainingError, match="cannot become"):
        Trainer(dataclasses.replace(config, start=model, encoder=other), tmp_path / "fourth")


def test_joined_models_go_on_as_one(config, learnt, tmp_path):
    alone, metadata = CtcModel.load(learnt / "model.pt")
    one = alone.encoder.config
    both = dataclasses.replace(one, hidden=2 * one.hidden, channels=2 * one.channels, groups=2)
    joined([alone, alone]).save(tmp_path / "both.pt")
    further = dataclasses.replace(
        config, start=tmp_path / "both.pt", encoder=both, muon_rate=0.001, learning_rate=0.0001
    )
    Trainer(further, tmp_path).run()
    model, after = CtcModel.load(tmp_path / "model-last.pt")
    assert model.encoder.config == both
    assert after["dev"] <= metadata["dev"] + 0.2
    first, second = model.encoder.cells[0]
    assert not torch.equal(first.weight_hh_l0, second.weight_hh_l0)  # dropout tells them apart
    assert not torch.equal(first.weight_hh_l0, alone.encoder.cells[0].weight_hh_l0)


def test_right_sentences_come_to_stand_out(config, learnt, tmp_path):
    """What was trained with CTC alone goes on beside competitors."""
    beside = dataclasses.replace(
        config,
        start=learnt / "model.pt",
        crf=1.0,
        epochs=15,
        augmentation=Augmentation(frequency_masks=0, time_masks=0),
        checkpoint_minutes=60,
    )
    trainer = Trainer(beside, tmp_path)
    batch = next(whole_batches(trainer.store, config.encoder.lookahead))
    before = trainer.loss(batch).item()
    trainer.run()
    trainer.model.eval()
    assert 0 < trainer.loss(batch).item() < before / 2
    model, metadata = CtcModel.load(tmp_path / "model.pt")
    assert metadata["dev"] < 0.5
    assert model.encoder.config == config.encoder


def test_another_configuration_does_not_resume(config, tmp_path):
    Trainer(config, tmp_path).save()
    with pytest.raises(TrainingError, match="another configuration"):
        Trainer(dataclasses.replace(config, learning_rate=0.1), tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run(config, tmp_path):
    trainer = Trainer(config, tmp_path)
    torch.nn.init.constant_(trainer.model.encoder.heads["phones"].bias, float("nan"))
    with pytest.raises(TrainingError, match="loss is nan"):
        trainer.run()


def test_truncation_keeps_the_loss_and_shortens_the_gradient(config, tmp_path):
    """The state goes on over the cut, the gradient does not."""
    encoder = dataclasses.replace(config.encoder, dropout=0.0)
    losses, gradients = [], []
    for frames in (0, 40):
        trainer = Trainer(
            dataclasses.replace(config, encoder=encoder, truncate_frames=frames, bfloat16=False),
            tmp_path / str(frames),
        )
        loss = trainer.loss(next(epoch_batches(trainer.store, trainer.config, 0)))
        loss.backward()
        losses.append(loss.item())
        gradients.append(trainer.model.encoder.conv1.weight.grad)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert not torch.allclose(*gradients, rtol=0.01)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("train: [", "not YAML"),
        ("just words", "expected"),
        ("train: a\ndev: b", "cache must be given"),
        ("train: a\ndev: b\ncache: c\nlearning_rat: 1", "learning_rat"),
        ("train: a\ndev: b\ncache: c\nencoder: {units: 3}", "encoder: unknown field units"),
        ("train: a\ndev: b\ncache: c\ntruncate_frames: 7", "multiple of 4"),
    ],
)
def test_a_wrong_configuration_is_named(tmp_path, text, complaint):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(TrainingError, match=complaint):
        TrainConfig.load(path)


def test_sources_have_shares_of_an_epoch(config):
    store = feature_store(config.train, config.speeds, config.cache)

    def seconds(**shares: float) -> float:
        changed = dataclasses.replace(config, joined_seconds=0)
        shared = store.shared(config.train, shares)
        return sum(batch.seconds for batch in epoch_batches(shared, changed, 0))

    once = seconds()
    assert seconds(beeps=2) == pytest.approx(2 * once)
    assert seconds(others=3) == pytest.approx(3 * once)
    assert 0 < seconds(beeps=0.5) < once
    with pytest.raises(TrainingError, match="no source whistles"):
        seconds(whistles=2)


@pytest.mark.parametrize(("how", "suffix"), [("rooms", IN_ROOM), ("codecs", CODED)])
def test_some_utterances_are_there_once_more_otherwise(config, how, suffix):
    plain = feature_store(config.train, config.speeds, config.cache)
    store = feature_store(config.train, config.speeds, config.cache, **{how: 0.5})
    number = {name: i for i, name in enumerate(store.ids)}
    changed = [name for name in store.ids if name.endswith(suffix)]
    assert [name for name in store.ids if not name.endswith(suffix)] == plain.ids
    assert 0 < len(changed) < len(plain.ids)
    for name in changed:
        one, other = (
            collate(store, [[number[each]]], config.encoder.lookahead)
            for each in (name, name.removesuffix(suffix))
        )
        assert torch.equal(one.tokens, other.tokens)
        assert one.features.shape == other.features.shape
        assert (one.features - other.features).abs().mean() > 0.1


def test_rooms_and_codecs_leave_each_other_alone(config):
    def copies(suffix, **shares):
        store = feature_store(config.train, config.speeds, config.cache, **shares)
        return [name for name in store.ids if name.endswith(suffix)]

    both = {"rooms": 0.5, "codecs": 0.5}
    assert copies(IN_ROOM, **both) == copies(IN_ROOM, rooms=0.5)
    assert copies(CODED, **both) == copies(CODED, codecs=0.5)
    assert copies(CODED, codecs=0.5) != copies(IN_ROOM, rooms=0.5)


def lacking(count: int, manifest: Path, folder: Path) -> Path:
    """A manifest of which so many recordings are no longer there."""
    cuts = list(CutSet.from_file(manifest))
    for cut in cuts[:count]:
        cut.recording.sources[0].source += ".gone"
    CutSet.from_cuts(cuts).to_file(folder / "train.jsonl.gz")
    return folder / "train.jsonl.gz"


def test_a_recording_that_is_gone_is_left_out_and_told(config, tmp_path, capsys):
    store = feature_store(lacking(1, config.train, tmp_path), (1.0,), tmp_path / "features")
    assert len(store.ids) == 11
    assert "1 of 12 left out" in capsys.readouterr().out


def test_recordings_that_are_gone_by_the_folder_stop_a_run(config, tmp_path):
    with pytest.raises(TrainingError, match=r"2 of the 12 .*cannot be read, the first: .*gone"):
        feature_store(lacking(2, config.train, tmp_path), (1.0,), tmp_path / "features")
    assert not list((tmp_path / "features").iterdir())


def test_the_recipes_are_valid():
    recipes = set(RECIPES.glob("*.yaml")) - {RECIPES / "en-language.yaml"}
    assert recipes
    for path in recipes:
        config = TrainConfig.load(path)
        assert TrainConfig.from_dict(config.to_dict()) == config
