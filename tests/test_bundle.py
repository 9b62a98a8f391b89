"""A folder that does not fit together is refused with the reason."""

import hashlib
import json
import shutil

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import asr
from asr.acoustic import AcousticModel
from asr.bundle import Bundle
from asr.errors import ModelError
from asr.export.verify import sound
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


@pytest.mark.parametrize("wrong", [-1, 0, 3, 1280, 640.0, True, "640", None])
def test_a_frame_that_is_none(folder, wrong):
    edit(folder, frame=wrong)
    refuse(folder, "frame")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(-2, 2) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@pytest.mark.parametrize(
    "name", ["name", "delay", "tail", "model", "states", "files", "graphs", "search", "endpoint"]
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON)
def test_a_setting_of_any_other_type_is_refused_or_works(folder, pristine, name, value):
    shutil.copyfile(pristine / "config.json", folder / "config.json")
    edit(folder, **{name: value})
    try:
        recognizer = asr.load(folder, graph=None)
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        recognizer.stream().push(np.zeros(1000), 16_000)


def test_states_may_be_listed_in_any_order(folder):
    audio = sound(1)
    want, state = AcousticModel(Bundle.open(folder)).step(audio)
    states = json.loads((folder / "config.json").read_text())["states"]
    edit(folder, states=dict(sorted(states.items(), reverse=True)))
    got, again = AcousticModel(Bundle.open(folder)).step(audio)
    np.testing.assert_array_equal(got, want)
    assert {name: array.shape for name, array in again.items()} == {
        name: array.shape for name, array in state.items()
    }


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


@pytest.mark.parametrize(
    "text", ["", "a 0\nb 2\n", "a 0\nb\n", "a x\n", "a 0\n", "\ufffd".encode()[:2]]
)
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


@pytest.mark.parametrize("wrong", [{"silnce": 1.0}, {"silence": 0}, {"silence": "1"}, [1]])
def test_endpoint_rules_that_are_wrong(folder, wrong):
    edit(folder, endpoint=wrong)
    with pytest.raises(ModelError, match="endpoint"):
        asr.load(folder, graph=None)


@pytest.mark.parametrize("damaged", [b"the grapf", b"the", b""])
def test_a_damaged_search_graph(tmp_path, damaged):
    (tmp_path / "g").write_bytes(b"the graph")
    folder = export_tiny(tmp_path / "tiny", graphs={"dictation": tmp_path / "g"})
    assert Bundle.open(folder).graph("dictation").read_bytes() == b"the graph"
    (folder / "dictation.graph").write_bytes(damaged)
    with pytest.raises(ModelError, match="get the model folder again"):
        Bundle.open(folder).graph("dictation")


def test_a_search_graph_that_is_not_there(folder):
    with pytest.raises(ModelError, match="no graph 'dictation'"):
        Bundle.open(folder).graph("dictation")


@pytest.mark.parametrize("name", ["delay", "tail"])
@pytest.mark.parametrize("wrong", [-1, 1.5, 10**9])
def test_a_delay_that_is_none(folder, name, wrong):
    edit(folder, **{name: wrong})
    refuse(folder, name)


@pytest.mark.parametrize("size", [281, 1 << 23, 1 << 40])
def test_a_state_of_another_size_that_both_declare(folder, size):
    proto = onnx.load(folder / "model.onnx")
    for value in (*proto.graph.input, *proto.graph.output):
        if value.name.endswith("samples"):
            value.type.tensor_type.shape.dim[1].dim_value = size
    rewrite(folder, "model.onnx", proto.SerializeToString())
    states = json.loads((folder / "config.json").read_text())["states"]
    edit(folder, states={**states, "samples": [None, size]})
    refuse(folder, r"one frame|states cannot be|another size")


def test_a_weight_that_claims_to_be_huge(folder):
    proto = onnx.load(folder / "model.onnx")
    proto.graph.initializer[0].dims[:] = [1 << 40, 1 << 20]
    rewrite(folder, "model.onnx", proto.SerializeToString())
    refuse(folder, "cannot load")


@pytest.mark.parametrize("damage", ["bit", "cut"])
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_damage_under_a_sha256_that_fits_is_an_error_or_works(folder, pristine, damage, place, bit):
    content = bytearray((pristine / "model.onnx").read_bytes())
    at = int(place * len(content))
    if damage == "bit":
        content[at] ^= 1 << bit
    else:
        del content[at:]
    rewrite(folder, "model.onnx", bytes(content))
    try:
        AcousticModel(Bundle.open(folder)).step(sound(1))
    except ModelError as error:
        assert "\n" not in str(error)


def test_an_int8_model_that_is_missing_or_damaged(tmp_path):
    folder = export_tiny(tmp_path / "tiny", int8=True)
    content = (folder / "model.int8.onnx").read_bytes()
    (folder / "model.int8.onnx").write_bytes(content[:-9])
    refuse(folder, "bytes, expected")
    (folder / "model.int8.onnx").unlink()
    refuse(folder, r"cannot read .*int8")
    edit(folder, int8=3)
    refuse(folder, "int8 cannot be 3")
    edit(folder, int8="other.onnx")
    refuse(folder, "no SHA-256 for other")
