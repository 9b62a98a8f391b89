"""Whatever is done to a file that Rill loads, the outcome is an AsrError or a model that runs.

Damage below the level of SHA-256 is tried too: `config.json` then describes the damaged file. Each
file is loaded in a process of its own, so that a crash or a hang is a failed test and not its end.
"""

import hashlib
import json
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
from asr.decoding.graph import Graph, PhoneGraph, Vocabulary
from asr.errors import GraphError, ModelError
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
from pathlib import Path
from asr.acoustic import AcousticModel
from asr.bundle import Bundle
from asr.errors import ModelError
import numpy as np

signal.alarm(100)
for line in sys.stdin:
    folder, precision = json.loads(line)
    try:
        model = AcousticModel(Bundle.open(folder), precision=precision)
        outcome = model.step(np.zeros((2, 6400), np.float32))[0].shape == (2, 10, 40)
    except ModelError as error:
        outcome = "\\n" not in str(error)
    print(json.dumps([folder, outcome]), flush=True)
"""


def test_damage_that_config_json_agrees_with_is_an_error_or_works(artefact, tmp_path):
    orders = []
    for seed in range(HARMS):
        copy = shutil.copytree(artefact.parent, tmp_path / str(seed)) / artefact.name
        copy.write_bytes(damaged(artefact.read_bytes(), seed))
        describe(copy)
        orders.append(json.dumps([str(copy.parent), ARTEFACTS[artefact.name]]))
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        input="\n".join(orders),
        capture_output=True,
        text=True,
        check=False,
    )
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    where = f"at damage {len(outcomes)} of {HARMS}: {done.stderr}"
    assert (done.returncode, len(outcomes)) == (0, HARMS), where
    assert all(fine for _, fine in outcomes), outcomes


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


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_weights_that_claim_to_be_huge_are_refused(folders, tmp_path, precision):
    name = {"fp32": "model.onnx", "int8": "model.int8.onnx"}[precision]
    path = shutil.copytree(folders[".onnx"], tmp_path / "m") / name
    proto = onnx.load(path)
    for weight in proto.graph.initializer:
        weight.dims[:] = [1 << 40, 1 << 20]
    path.write_bytes(proto.SerializeToString())
    describe(path)
    refuse(path, "cannot load")


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
