"""`asr export` as a user runs it."""

import pytest

import asr
from tests.cli.command import run
from tests.models import tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "model.pt"
    tiny().save(path, priors=[1 / 40] * 40)
    return path


@pytest.fixture(scope="module")
def folder(checkpoint):
    target = checkpoint.with_name("tiny")
    done = run("export", checkpoint, target, "--version", "3", "--beam", "9", "--max-active", "800")
    assert done.returncode == 0, done.stderr
    assert "what int8 costs in words was not measured" in done.stdout
    return target


def test_a_checkpoint_becomes_a_folder_that_runs_in_int8(folder):
    recognizer = asr.load(folder, graph=None)
    assert recognizer.acoustic.precision == "int8"
    assert recognizer.bundle.settings.version == "3"
    search = recognizer.bundle.settings.search
    assert (search["beam"], search["max_active"], search["prior_scale"]) == (9.0, 800, 0.6)


def test_without_int8(checkpoint, tmp_path):
    done = run("export", checkpoint, tmp_path / "tiny", "--no-int8")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "tiny" / "model.int8.onnx").exists()
    assert "int8 costs" not in done.stdout


def test_several_checkpoints_become_one_model(checkpoint, tmp_path):
    other = tmp_path / "other.pt"
    tiny(seed=1).save(other, priors=[0.0] * 39 + [1.0])
    done = run("export", checkpoint, other, tmp_path / "pair")
    assert done.returncode == 0, done.stderr
    settings = asr.load(tmp_path / "pair", graph=None).bundle.settings
    assert settings.states["hidden"] == [3, None, 32]
    assert settings.search["priors"] == pytest.approx([1 / 80] * 39 + [0.5 + 1 / 80], abs=1e-5)
    tiny("lstm").save(other, priors=[1 / 40] * 40)
    done = run("export", checkpoint, other, tmp_path / "none")
    assert done.returncode == 1
    assert "cannot be joined" in done.stderr
    done = run("export", checkpoint, other, tmp_path / "none", "--to", "web")
    assert done.returncode == 2
    assert "join the models first" in done.stderr
    assert not (tmp_path / "none").exists()


def test_a_folder_becomes_others(folder, tmp_path):
    """What the folder knows is kept, what is given replaces it."""
    done = run("export", folder, tmp_path / "ort", "--to", "ort", "--language", "en-GB")
    assert done.returncode == 0, done.stderr
    settings = asr.load(tmp_path / "ort", graph=None).bundle.settings
    assert (settings.version, settings.language, settings.model) == ("3", "en-GB", "model.ort")
    done = run("export", folder, tmp_path / "twin", "--to", "sherpa-onnx")
    assert done.returncode == 0, done.stderr
    assert "push 0.39 s of zeros behind the last sample" in done.stdout
    assert (tmp_path / "twin" / "model.int8.onnx").is_file()


def test_a_grammar_for_sherpa_onnx(folder, tmp_path):
    (tmp_path / "lamp.jsgf").write_text(
        "#JSGF V1.0; grammar lamp; public <lamp> = on {the lamp = on} | off {state=off};"
    )
    arguments = "--to", "sherpa-onnx", "--no-int8", "--grammar", tmp_path / "lamp.jsgf"
    done = run("export", folder, tmp_path / "twin", *arguments)
    assert done.returncode == 0, done.stderr
    words = (tmp_path / "twin" / "words.txt").read_text(encoding="utf-8")
    assert words == "<eps> 0\non 1\noff 2\n{the_lamp_=_on} 3\n{state=off} 4\n"
    assert (tmp_path / "twin" / "ctc_graph.fst").stat().st_size > 100


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["--to", "toaster"], 2, "toaster"),
        (["--gate", "nowhere"], 2, "nowhere"),
        (["--to", "sherpa-onnx", "--card", __file__], 2, "export one first"),
        (["--grammar", __file__], 2, "--to sherpa-onnx"),
        (["--gate", __file__], 1, "graph `dictation`"),
        (["--graph", __file__], 0, ""),
    ],
)
def test_what_cannot_be_is_refused(checkpoint, tmp_path, arguments, code, reason):
    done = run("export", checkpoint, tmp_path / "new", *arguments)
    assert done.returncode == code
    assert reason in done.stderr
    assert (tmp_path / "new").exists() == (code == 0)


def test_priors_that_are_not_there(tmp_path):
    tiny().save(tmp_path / "model.pt")
    done = run("export", tmp_path / "model.pt", tmp_path / "new")
    assert done.returncode == 1
    assert "--prior-scale 0" in done.stderr
    assert not (tmp_path / "new").exists()
