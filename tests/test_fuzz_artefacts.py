"""Whatever is done to a file that Rill loads, the outcome is an AsrError or a model that runs.

Damage below the level of SHA-256 is tried too: `config.json` then describes the damaged file. Each
file is loaded in a process of its own, so that a crash or a hang is a failed test and not its end.
"""

import hashlib
import io
import json
import math
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

import asr
from asr.acoustic import AcousticModel
from asr.bundle import Bundle
from asr.decoding.fst import ARC, Fst
from asr.decoding.graph import Graph
from asr.decoding.phone_graph import PhoneGraph
from asr.decoding.vocabulary import Vocabulary
from asr.errors import AsrError, GraphError, ModelError
from tests.decoding.world import small_graph
from tests.models import export_tiny

ARTEFACTS = {
    "model.onnx": "fp32",
    "model.int8.onnx": "int8",
    "model.ort": "fp32",
    "model.int8.ort": "int8",
}
"""Precision of each file."""
HARMS = 24
"""Ways in which each file is damaged."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model folder for each format."""
    path = tmp_path_factory.mktemp("models")
    return {
        ".onnx": export_tiny(path / "onnx", int8=True),
        ".ort": export_tiny(path / "ort", int8=True, ort=True),
    }


@pytest.fixture(params=ARTEFACTS)
def artefact(request, folders, tmp_path):
    """A file of a model, in a folder of its own."""
    return shutil.copytree(folders[Path(request.param).suffix], tmp_path / "m") / request.param


def describe(path):
    """Make `config.json` say that the file is as it should be."""
    config = json.loads((path.parent / "config.json").read_text())
    content = path.read_bytes()
    config["files"][path.name] = [len(content), hashlib.sha256(content).hexdigest()]
    (path.parent / "config.json").write_text(json.dumps(config))


def refuse(path, reason):
    with pytest.raises(ModelError, match=reason) as error:
        AcousticModel(Bundle.open(path.parent), precision=ARTEFACTS[path.name])
    assert "\n" not in str(error.value)


def damaged(content, seed):
    """A file with a bit flipped, a part cut away, zeroed, or filled with noise; or cut short."""
    rng = random.Random(seed)
    harmed = bytearray(content)
    at = rng.randrange(len(harmed))
    size = rng.choice((1, 4, 64, 4096))
    match seed % 6:
        case 0 | 1:
            harmed[at] ^= 1 << rng.randrange(8)
        case 2:
            del harmed[at:]
        case 3:
            del harmed[at : at + size]
        case 4:
            harmed[at : at + size] = bytes(len(harmed[at : at + size]))
        case 5:
            harmed[at : at + size] = rng.randbytes(len(harmed[at : at + size]))
    return bytes(harmed)


def test_a_truncated_or_changed_file_is_refused(artefact):
    content = artefact.read_bytes()
    artefact.write_bytes(content[:-1])
    refuse(artefact, "bytes, expected")
    for seed in range(0, HARMS, 6):
        artefact.write_bytes(damaged(content, seed))
        refuse(artefact, "is not the file")


LOAD = """
import json, signal, sys
from asr.acoustic import AcousticModel
from asr.bundle import Bundle
from asr.errors import ModelError
import numpy as np

for line in sys.stdin:
    signal.alarm(100)
    folder, precision = json.loads(line)
    try:
        model = AcousticModel(Bundle.open(folder), precision=precision)
        assert model.step(np.zeros((2, 6400), np.float32))[0].shape == (2, 10, 40)
        outcome = "works"
    except ModelError as error:
        outcome = str(error)
    print(json.dumps(outcome), flush=True)
"""


def outcomes(paths):
    """What comes of each file when it is loaded, in a process of its own: `works`, or the error."""
    orders = [json.dumps([str(path.parent), ARTEFACTS[path.name]]) for path in paths]
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        input="\n".join(orders),
        capture_output=True,
        text=True,
        check=False,
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, len(said)) == (0, len(paths)), f"at {len(said)}: {done.stderr}"
    assert not any("\n" in outcome for outcome in said), said
    return said


def test_damage_that_config_json_agrees_with_is_an_error_or_works(artefact, tmp_path):
    paths = []
    for seed in range(HARMS):
        path = shutil.copytree(artefact.parent, tmp_path / str(seed)) / artefact.name
        path.write_bytes(damaged(artefact.read_bytes(), seed))
        describe(path)
        paths.append(path)
    assert len(set(outcomes(paths))) > 1


def test_a_file_of_another_kind_is_refused(artefact):
    for content in (b"", b"not a model", bytes(10_000), Path(__file__).read_bytes()):
        artefact.write_bytes(content)
        describe(artefact)
        refuse(artefact, "cannot load")


def test_tokens_and_output_of_different_size_are_refused(artefact):
    tokens = artefact.parent / "tokens.txt"
    lines = tokens.read_text().splitlines(keepends=True)
    for fewer_or_more in (lines[:-1], [*lines, f"more {len(lines)}\n"]):
        tokens.write_text("".join(fewer_or_more))
        describe(tokens)
        refuse(artefact, f"tells 40 tokens apart, tokens.txt names {len(fewer_or_more)}")


def test_states_of_other_shapes_or_huge_ones_are_refused(artefact):
    path = artefact.parent / "config.json"
    config = json.loads(path.read_text())
    for shape in (
        [3, None, 17],
        [3, None],
        [None, 3, 16],
        [1 << 24, None, 1 << 24],
        [3, None, 1e9],
    ):
        path.write_text(json.dumps({**config, "states": {**config["states"], "hidden": shape}}))
        refuse(artefact, "hidden|states cannot be")


@pytest.mark.parametrize(
    "field", ["name", "sample_rate", "frame", "delay", "tail", "model", "states", "files", "format"]
)
def test_settings_that_are_missing_are_named(artefact, field):
    path = artefact.parent / "config.json"
    config = json.loads(path.read_text())
    del config[field]
    path.write_text(json.dumps(config))
    refuse(artefact, "no settings" if field == "format" else f"lacks something.*'{field}'")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A folder with a search graph, and what its `config.json` says."""
    path = tmp_path_factory.mktemp("settings")
    small_graph().save(path / "g.graph")
    folder = export_tiny(path / "m", int8=True, graphs={"dictation": path / "g.graph"})
    return folder, json.loads((folder / "config.json").read_text())


def refuse_settings(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(ModelError) as error:
        asr.load(folder)
    message = str(error.value)
    assert "\n" not in message and str(folder) in message


ABSURD = [-1, 0, 1 << 31, 10**30, 10**400, 1.5, math.nan, math.inf, True, None, "1", [], {}]


@pytest.mark.parametrize("field", ["sample_rate", "frame", "delay", "tail"])
def test_absurd_counts_are_refused(settings, field):
    folder, config = settings
    allowed = (0,) if field in ("delay", "tail") else ()
    for value in ABSURD:
        if value not in allowed:
            refuse_settings(folder, json.dumps({**config, field: value}))
    refuse_settings(folder, json.dumps({**config, field: 1 << 24, "frame": 1}))


@pytest.mark.parametrize(
    ("field", "absurd"),
    [
        ("beam", [0, -1, 10**400, math.nan, math.inf, None, "1", []]),
        ("max_active", ABSURD),
        ("acoustic_scale", [0, -1, 10**400, math.nan, math.inf, None, "1", []]),
        ("prior_scale", [10**400, 1e308, math.nan, -math.inf, None, "1", []]),
        ("priors", [[0.1], [math.nan] * 40, [0] * 40, ["1"] * 40, [None] * 40, 1, "x" * 40]),
        ("doubt", [[], [1], [1, 2, 3], ["a", "b"], [math.nan, 1], None, 3, "ab"]),
        ("word_confidence", [[1], ["1"] * 5, [math.inf] * 5, "12345", 5]),
        ("unheard", [1]),
    ],
)
def test_absurd_options_of_the_search_are_refused(settings, field, absurd):
    folder, config = settings
    for value in absurd:
        search = {**config["search"], field: value}
        refuse_settings(folder, json.dumps({**config, "search": search}))


@pytest.mark.parametrize("rule", ["silence", "silence_before_speech", "longest"])
def test_absurd_endpoints_are_refused(settings, rule):
    folder, config = settings
    for value in (0, -1, math.nan, -math.inf, None, "1", []):
        refuse_settings(folder, json.dumps({**config, "endpoint": {rule: value}}))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../m/model.onnx", "/dev/zero", "m\0", "a\nb", "\ud800", "n" * 5000]
)
@pytest.mark.parametrize("field", ["int8", "graphs"])
def test_files_that_are_not_in_the_folder_are_refused(settings, field, name):
    folder, config = settings
    files = {**config["files"], name: config["files"]["model.int8.onnx"]}
    value = {"dictation": name} if field == "graphs" else name
    refuse_settings(folder, json.dumps({**config, "files": files, field: value}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "[" * 200_000,
        '{"format": 1' + "0" * 10_000 + "}",
        '{"format": 1, "x": "\0"}',
    ],
    ids=["empty", "null", "list", "deep", "long number", "control character"],
)
def test_a_config_that_is_none_is_refused(settings, text):
    refuse_settings(settings[0], text)


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("snapshots")
    small_graph().save(path / "g.graph")
    return asr.load(export_tiny(path / "m", graphs={"dictation": path / "g.graph"}))


@pytest.fixture(scope="module")
def snapshot(recognizer):
    """Of a stream that has heard a second at a rate that is not the model's."""
    stream = recognizer.stream()
    stream.push(0.1 * np.random.default_rng(0).standard_normal(9001), 8000)
    return stream.snapshot()


def unpacked(data):
    return dict(np.load(io.BytesIO(data), allow_pickle=False))


def packed(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def with_facts(snapshot, **changed):
    arrays = unpacked(snapshot)
    facts = {**json.loads(arrays["facts"].tobytes()), **changed}
    return packed({**arrays, "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)})


def refuse_snapshot(recognizer, data):
    """It is refused at once, not when the stream goes on."""
    with pytest.raises(AsrError) as error:
        recognizer.restore(data)
    assert "\n" not in str(error.value)


def restored(recognizer, data):
    """What comes of a stream that goes on from a snapshot."""
    try:
        stream = recognizer.restore(data)
    except AsrError as error:
        return str(error)
    stream.push(np.zeros(4000), 8000)
    stream.flush()
    return "works"


def test_a_damaged_snapshot_is_refused_or_goes_on(recognizer, snapshot):
    said = [restored(recognizer, damaged(snapshot, seed)) for seed in range(10 * HARMS)]
    assert not any("\n" in one for one in said)
    assert said.count("works") < len(said) / 2


@pytest.mark.parametrize(
    ("place", "value"), [(6, 65), (8, 1), (10, 99)], ids=["version", "password", "compression"]
)
def test_a_snapshot_that_is_another_kind_of_archive_is_refused(recognizer, snapshot, place, value):
    harmed = bytearray(snapshot)
    harmed[snapshot.index(b"PK\1\2") + place] = value
    refuse_snapshot(recognizer, bytes(harmed))


@pytest.mark.parametrize("name", ["pending", "log_probs"])
def test_a_snapshot_with_wrong_shapes_is_refused(recognizer, snapshot, name):
    arrays = unpacked(snapshot)
    array = arrays[name]
    for wrong in (array[None], np.float32(1), np.array(["x"])):
        refuse_snapshot(recognizer, packed({**arrays, name: wrong}))
    if name == "log_probs":
        for wrong in (array[:, :3], np.concatenate([array, array], 1), np.full_like(array, np.nan)):
            refuse_snapshot(recognizer, packed({**arrays, name: wrong}))


@pytest.mark.parametrize("name", ["samples", "conv1", "conv2", "hidden", "lookahead"])
def test_a_snapshot_with_an_acoustic_state_of_wrong_shape_is_refused(recognizer, snapshot, name):
    arrays = unpacked(snapshot)
    state = unpacked(arrays["acoustic"].tobytes())
    array = state[name]
    twice = np.concatenate([array, array], recognizer.bundle.settings.states[name].index(None))
    wide = np.concatenate([array, array], -1)
    for wrong in (array[..., :0], wide, twice, np.float32(0), array.astype(float), np.array("x")):
        harmed = np.frombuffer(packed({**state, name: wrong}), np.uint8)
        refuse_snapshot(recognizer, packed({**arrays, "acoustic": harmed}))


@pytest.mark.parametrize(
    ("name", "absurd"),
    [
        *((name, ABSURD[2:]) for name in ("origin", "lead_in", "begin")),
        ("samples", [-1, 10**30, 1.5, math.nan, None, "1"]),
        ("after", [-1, 1.5, 10**9, "1", []]),
        ("resampler", [1, [8000], [0, 0, 0], [10**12, 0, 0], ["x", 0, 0], [8000, "x", 0]]),
        ("quiet", [1, {}, {"frames": -1, "silent": 0, "spoke": True}, {"frames": "x"}]),
        ("rules", [1, {"silence": -1}, {"silence": "x"}, {"silence": math.nan}]),
        ("shown", [1, {}, "x"]),
        ("model", [1, None, "another"]),
        ("task", [1, {}, {"grammar": ["a"], "phrases": [], "nbest": 1}]),
    ],
)
def test_a_snapshot_with_absurd_facts_is_refused(recognizer, snapshot, name, absurd):
    for value in absurd:
        if type(value) is not int or name not in ("origin", "lead_in", "begin") or value > 1 << 53:
            refuse_snapshot(recognizer, with_facts(snapshot, **{name: value}))


def test_the_version_of_a_later_format_is_named(artefact):
    path = artefact.parent / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    refuse(artefact, "is of format 2, this version reads 1")


def test_an_onnx_file_of_a_later_version_is_refused(folders, tmp_path):
    for name in ("model.onnx", "model.int8.onnx"):
        path = shutil.copytree(folders[".onnx"], tmp_path / name) / name
        proto = onnx.load(path)
        proto.ir_version = 99
        path.write_bytes(proto.SerializeToString())
        describe(path)
        refuse(path, "cannot load.*(IR|ir).version")


def test_an_ort_file_of_a_later_version_is_refused(folders, tmp_path):
    for name in ("model.ort", "model.int8.ort"):
        path = shutil.copytree(folders[".ort"], tmp_path / name) / name
        content = path.read_bytes()
        at = content.rindex(b"\x01\x00\x00\x006\x00\x00\x00") + 4  # "6", the file's last string
        path.write_bytes(content[:at] + b"9" + content[at + 1 :])
        describe(path)
        refuse(path, "cannot load.*version")


def weight_of(dims):
    """One weight says that it has other dimensions."""

    def change(proto):
        proto.graph.initializer[len(proto.graph.initializer) // 2].dims[:] = dims

    return change


def weight_in(location):
    """The largest weight says that its data lie in a file."""

    def change(proto):
        weight = max(proto.graph.initializer, key=lambda one: len(one.raw_data))
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        for key, value in {"location": location, "length": str(1 << 40)}.items():
            weight.external_data.add(key=key, value=value)

    return change


def made(dims):
    """The graph itself makes a tensor of these dimensions."""

    def change(proto):
        shape = onnx.helper.make_tensor("shape", onnx.TensorProto.INT64, [len(dims)], dims)
        proto.graph.initializer.append(shape)
        for node in proto.graph.node:
            node.output[:] = ["before" if one == "log_probs" else one for one in node.output]
        for operator, inputs, output in (
            ("ConstantOfShape", ["shape"], "huge"),
            ("ReduceMax", ["huge"], "most"),
            ("Add", ["before", "most"], "log_probs"),
        ):
            proto.graph.node.append(onnx.helper.make_node(operator, inputs, [output]))

    return change


def state_of(size):
    """Inputs and outputs say that they have another size."""

    def change(proto):
        for value in (*proto.graph.input, *proto.graph.output):
            for dimension in value.type.tensor_type.shape.dim:
                if dimension.dim_value:
                    dimension.dim_value = size

    return change


ABSURDITIES = [
    *map(weight_of, ([1 << 40], [1 << 32, 1 << 32], [1 << 62, 4], [(1 << 63) - 1], [-1])),
    *map(weight_in, ("/dev/zero", "../../../../../../../dev/zero", "nothing.bin", "tokens.txt")),
    *map(made, ([1 << 44], [1 << 31, 1 << 31], [1 << 62, 1 << 62], [-5])),
    *map(state_of, (1 << 40, (1 << 63) - 1, -7)),
]


@pytest.mark.parametrize("name", ["model.onnx", "model.int8.onnx"])
def test_what_claims_to_be_huge_is_refused(folders, tmp_path, name):
    paths = []
    for number, change in enumerate(ABSURDITIES):
        path = shutil.copytree(folders[".onnx"], tmp_path / str(number)) / name
        proto = onnx.load(path)
        change(proto)
        path.write_bytes(proto.SerializeToString())
        describe(path)
        paths.append(path)
    assert "works" not in outcomes(paths)


def graph_file(path):
    """A small search graph: a word of one phone."""
    arcs = np.array([(1, 1, 0.5, 1), (2, 0, 0.5, 0)], ARC)
    fst = Fst.of(0, np.array([np.inf, 0], np.float32), np.array([0, 1]), arcs)
    PhoneGraph(Vocabulary.of({"a": [("AH",)]}), fst).save(path)
    return path


@pytest.mark.parametrize("name", ["vocabulary", "arcs", "cost", "next", "word", "final"])
@pytest.mark.parametrize("size", [1 << 33, 1 << 62])
def test_a_search_graph_that_claims_to_be_huge_is_refused(tmp_path, name, size):
    """The header of an array says how many numbers follow; they do not."""
    path = graph_file(tmp_path / "g.graph")
    with zipfile.ZipFile(path) as archive:
        columns = {entry: archive.read(entry) for entry in archive.namelist()}
    header = {"descr": np.load(path)[name].dtype.str, "fortran_order": False, "shape": (size,)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for entry, content in columns.items():
            with archive.open(entry, "w") as file:
                if entry == f"{name}.npy":
                    np.lib.format.write_array_header_1_0(file, header)
                else:
                    file.write(content)
    with pytest.raises(GraphError, match=r"g\.graph is not a graph, or damaged"):
        Graph.load(path)


def test_a_search_graph_that_lacks_a_column_is_refused(tmp_path):
    path = graph_file(tmp_path / "g.graph")
    with np.load(path) as archive:
        columns = dict(archive)
    for name in columns:
        with path.open("wb") as file:
            np.savez(file, **{other: columns[other] for other in columns if other != name})
        with pytest.raises(GraphError, match=r"g\.graph is not a graph"):
            Graph.load(path)


def test_a_damaged_graph_stops_the_folder_it_is_in(tmp_path):
    graph = graph_file(tmp_path / "g.graph")
    folder = export_tiny(tmp_path / "tiny", graphs={"dictation": graph})
    content = (folder / "dictation.graph").read_bytes()
    for seed in range(12):
        (folder / "dictation.graph").write_bytes(damaged(content, seed))
        with pytest.raises(ModelError, match=r"bytes, expected|is not the file"):
            asr.load(folder)
