"""`asr bench` as a user runs it, on a small model."""

import json
import subprocess
import sys

import onnxruntime
import pytest

from asr.export.verify import sound
from tests.cli.command import run
from tests.decoding.world import small_graph
from tests.models import export_tiny
from tests.sound import record


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    graph = folder / "small.graph"
    small_graph().save(graph)
    return export_tiny(folder / "tiny", int8=True, graphs={"dictation": graph})


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    paths = [record(folder / f"{i}.wav", samples) for i, samples in enumerate(sound(2))]
    for path in paths:
        path.with_suffix(".txt").write_text("a red bus\n")
    return paths


def test_every_figure_of_every_artefact(model, clips, tmp_path):
    result = run(
        "bench", model, *clips, "--chunks", "40,whole", "--rounds", "1",
        "--json", tmp_path / "new" / "bench.json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    head, line, *lines = result.stdout.strip().splitlines()
    assert set(line) == {"|", "-"}
    names = [cell.strip() for cell in head.strip("|").split("|")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in lines]
    assert [row[:2] for row in cells] == [
        [f"rill {precision}", chunk]
        for precision in ("fp32", "int8")
        for chunk in ("40 ms", "whole")
    ]
    assert all(len(row) == len(names) and all(row) for row in cells)

    facts = json.loads((tmp_path / "new" / "bench.json").read_text())
    assert facts["clips"] == {"count": 2, "seconds": pytest.approx(4.0), "words": 6}
    assert facts["plan"]["graph"] == "dictation" and facts["machine"]["cores"]
    for row in facts["rows"]:
        assert row["system"] == "rill" and row["instructions"] is None
        for name in ("real_time_factor", "cpu", "chunk_median", "start_up", "start_up_cpu"):
            assert row[name] > 0
        assert row["chunk_median"] <= row["chunk_99"]
        assert 0 < sum(row["parts"].values()) < row["cpu"]
        assert 10 << 20 < row["private"] <= row["resident"] <= row["peak"] < 1 << 30
        errors = row["errors"]
        assert errors["hits"] + errors["substitutions"] + errors["deletions"] == 6
        assert errors["rate"] > 0
    small, whole = (facts["rows"][i]["chunk_median"] for i in (0, 1))
    assert small < whole


def test_peers_hear_the_same_clips(model, clips, tmp_path):
    pytest.importorskip("sherpa_onnx")
    pytest.importorskip("pocketsphinx")
    result = run(
        "bench", model, *clips, "--clips", "1", "--chunks", "160", "--precision", "int8",
        "--rounds", "1", "--beside", "sherpa-onnx,pocketsphinx", "--json", tmp_path / "bench.json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "CPU to Rill's" in result.stdout and "errors to Rill's" in result.stdout
    facts = json.loads((tmp_path / "bench.json").read_text())
    rows = {row["system"]: row for row in facts["rows"]}
    assert list(rows) == ["rill", "sherpa-onnx", "pocketsphinx"]
    assert facts["clips"]["count"] == 1
    assert all(row["cpu"] > 0 and row["errors"]["hits"] is not None for row in rows.values())
    assert rows["sherpa-onnx"]["precision"] == "int8"
    assert rows["pocketsphinx"]["stream"] is None and rows["sherpa-onnx"]["stream"] is not None


def test_streams_in_a_batch(model, tmp_path):
    result = run(
        "bench", model, "--streams", "1,3", "--chunks", "40,80", "--precision", "int8",
        "--rounds", "1", "--json", tmp_path / "bench.json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert [(row["streams"], row["chunk_ms"]) for row in rows] == [
        (1, 40),
        (1, 80),
        (3, 40),
        (3, 80),
    ]
    for row in rows:
        assert row["device"] == "cpu" and row["precision"] == "int8"
        assert 0 < row["step_median"] <= row["step_99"] and row["speed"] > 0 and row["cpu"] > 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--precision", "int4"], "--precision knows fp32, int8, got 'int4'"),
        (["--beside", "whisper"], "--beside knows sherpa-onnx, pocketsphinx"),
        (["--chunks", "100"], "multiples of 40 ms"),
        (["--chunks", "fast"], "expected --chunks"),
        (["--streams", "0"], "expected --streams"),
        (["--streams", "2", "--chunks", "whole"], "give no clips"),
        (["--streams", "2", "--beside", "pocketsphinx"], "give no clips"),
        (["--clips", "0"], "--clips"),
    ],
)
def test_a_wrong_call_is_one_line_and_status_2(model, arguments, told):
    result = run("bench", model, *arguments)
    assert result.returncode == 2 and told in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize("streams", [[], ["--streams", "2"]])
def test_a_device_that_is_not_there_is_told(model, streams):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("there is a GPU")
    result = run("bench", model, "--device", "cuda", *streams)
    assert result.returncode == 1 and result.stdout == ""
    assert "install onnxruntime-gpu" in result.stderr and result.stderr.count("\n") == 1


def test_a_graph_that_is_not_there_is_told(model):
    result = run("bench", model, "--graph", "commands")
    assert result.returncode == 1 and "has no graph 'commands'" in result.stderr


@pytest.mark.parametrize(
    ("peer", "module", "package"),
    [
        ("sherpa-onnx", "sherpa_onnx", "'sherpa-onnx'"),
        ("sherpa-onnx", "torch", "'rill-asr[export]'"),
        ("pocketsphinx", "pocketsphinx", "'pocketsphinx'"),
    ],
)
def test_a_peer_that_is_not_installed_is_told(model, peer, module, package):
    code = (
        f"import sys; sys.modules[{module!r}] = None; import asr.cli; "
        f"sys.argv = ['asr', 'bench', {str(model)!r}, '--beside', {peer!r}]; asr.cli.main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1 and result.stdout == ""
    assert f"needs {module}" in result.stderr and f"pip install {package}" in result.stderr
