"""A folder that does not fit together is refused with the reason."""

import hashlib
import json
import shutil

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import asr
from asr.acoustic import AcousticModel
from asr.bundle import Bundle
from asr.errors import ModelError
from tests.models import export_tiny


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return export_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "tiny")


def edit(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def rewrite(folder, name, content):
    """Change a file and the SHA-256 that belongs to it."""
    (folder / name).write_bytes(content)
    files = json.loads((folder / "config.json").read_text())["files"]
    edit(folder, files={**files, name: [len(content), hashlib.sha256(content).hexdigest()]})


def refuse(folder, reason):
    with pytest.raises(ModelError, match=reason) as error:
        AcousticModel(Bundle.open(folder))
    assert "\n" not in str(error.value).strip()


def test_a_whole_folder_opens(folder):
    bundle = Bundle.open(str(folder))
    assert bundle.settings.name == "tiny"
    assert bundle.frame_seconds == 0.04
    assert bundle.tokens[0] == "<blk>"


def test_no_folder(tmp_path):
    refuse(tmp_path / "nowhere", "no model folder")


@pytest.mark.parametrize("name", ["config.json", "tokens.txt", "model.onnx"])
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    refuse(folder, name)


def test_settings_that_are_no_json(folder):
    (folder / "config.json").write_text("{")
    refuse(folder, "no JSON")


@pytest.mark.parametrize("text", ["[]", "3", "null"])
def test_settings_that_are_no_object(folder, text):
    (folder / "config.json").write_text(text)
    refuse(folder, "no settings")


def test_a_newer_format(folder):
    edit(folder, format=2)
    refuse(folder, "format 2")


def test_a_setting_that_is_missing(folder):
    config = json.loads((folder / "config.json").read_text())
    del config["delay"]
    (folder / "config.json").write_text(json.dumps(config))
    refuse(folder, "delay")


@pytest.mark.parametrize("wrong", [-1, 0, "640", None])
def test_a_frame_that_is_none(folder, wrong):
    edit(folder, frame=wrong)
    refuse(folder, "config.json")


def test_a_truncated_model(folder):
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:-100])
    refuse(folder, "bytes, expected")


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit(folder, pristine, place, bit):
    content = bytearray((pristine / "model.onnx").read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    (folder / "model.onnx").write_bytes(content)
    refuse(folder, "is not the file")


def test_a_model_that_is_no_onnx(folder):
    rewrite(folder, "model.onnx", b"not a model")
    refuse(folder, "cannot load")


def test_fewer_tokens_than_outputs(folder):
    lines = (folder / "tokens.txt").read_text().splitlines(keepends=True)
    rewrite(folder, "tokens.txt", "".join(lines[:-1]).encode())
    refuse(folder, "40 tokens")


@pytest.mark.parametrize("text", ["", "a 0\nb 2\n", "a 0\nb\n", "a x\n", "\ufffd".encode()[:2]])
def test_tokens_that_cannot_be_read(folder, text):
    rewrite(folder, "tokens.txt", text if isinstance(text, bytes) else text.encode())
    refuse(folder, "tokens.txt")


def test_states_of_another_shape(folder):
    states = json.loads((folder / "config.json").read_text())["states"]
    edit(folder, states={**states, "hidden": [4, None, 16]})
    refuse(folder, "state hidden")


def test_states_that_the_graph_lacks(folder):
    states = json.loads((folder / "config.json").read_text())["states"]
    edit(folder, states={**states, "cell": [3, None, 16]})
    refuse(folder, "inputs")


def test_a_graph_without_a_state_output(folder):
    proto = onnx.load(folder / "model.onnx")
    del proto.graph.output[-1]
    rewrite(folder, "model.onnx", proto.SerializeToString())
    refuse(folder, "every state")


@pytest.mark.parametrize("wrong", [{"beem": 3}, {"beam": -1}, {"priors": [1, 2, 3]}])
def test_settings_of_the_search_that_are_wrong(folder, wrong):
    edit(folder, search=wrong)
    with pytest.raises(ModelError, match="settings of the search"):
        asr.load(folder)


def test_a_search_graph_that_is_not_there(folder):
    with pytest.raises(ModelError, match="no graph 'dictation'"):
        Bundle.open(folder).graph("dictation")
