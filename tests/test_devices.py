"""On a device other than the CPU states stay where they are, and only sound and results travel.

No GPU is needed: a session on the CPU stands in for one, and what it is told of devices is kept.
"""

import os
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

import asr
from asr.acoustic import AcousticModel
from asr.benchmark.worker import Batch
from asr.bundle import Bundle
from asr.errors import DeviceError
from asr.export.verify import sound
from tests.models import export_tiny

OrtValue = onnxruntime.OrtValue


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return export_tiny(tmp_path_factory.mktemp("devices") / "tiny")


class Device:
    """Stands in for a session on `cuda`: computes on the CPU, and keeps what went where."""

    def __init__(self, session):
        self._session = session
        self.copied, self.inputs, self.outputs = [], [], []

    def io_binding(self):
        binding, told = self._session.io_binding(), self

        class Binding:
            def bind_cpu_input(self, name, array):
                told.copied.append(name)
                binding.bind_cpu_input(name, array)

            def bind_ortvalue_input(self, name, value):
                told.inputs.append((name, value.data_ptr()))
                binding.bind_ortvalue_input(name, value)

            def bind_output(self, name, device, number=0):
                told.outputs.append((name, device, number))
                binding.bind_output(name, "cpu", 0)

            def get_outputs(self):
                return binding.get_outputs()

        self._binding = binding
        return Binding()

    def run_with_iobinding(self, _binding):
        self._session.run_with_iobinding(self._binding)


@pytest.fixture
def on_cuda(folder, monkeypatch):
    """A model that believes itself on `cuda`, and arrays that were sent there, with the device."""
    sent = []

    def send(array, device, number):
        sent.append((device, number))
        return OrtValue.ortvalue_from_numpy(array.copy(), "cpu", 0)

    model = AcousticModel(Bundle.open(folder), bind=True)
    monkeypatch.setattr(
        onnxruntime, "OrtValue", type("Sent", (), {"ortvalue_from_numpy": staticmethod(send)})
    )
    model.device, model._session = "cuda", Device(model._session)
    return model, sent


def test_states_stay_on_the_device(on_cuda):
    """Only the first ones are sent there, and each is the next step's input as it is."""
    model, sent = on_cuda
    told, names = model._session, list(model.start())
    audio = sound(3)
    log_probs, state = model.step(audio)
    assert isinstance(log_probs, np.ndarray)
    assert all(isinstance(value, OrtValue) for value in state.values())
    assert sent == [("cuda", 0)] * len(names) and told.copied == ["audio"]
    assert told.outputs == [
        ("log_probs", "cpu", 0),
        *((f"next_{name}", "cuda", 0) for name in names),
    ]
    del sent[:], told.inputs[:]
    model.step(audio, state)
    assert sent == []
    assert told.inputs == [(name, state[name].data_ptr()) for name in names]


def test_streams_of_a_batch_on_a_device_are_those_of_the_cpu(on_cuda, folder):
    """Also when they are taken apart, saved, and go on elsewhere."""
    model, _ = on_cuda
    alone = AcousticModel(Bundle.open(folder))
    audio = sound(5)
    half = audio.shape[1] // 1280 * 640
    first, state = model.step(audio[:, :half])
    second, state = model.step(audio[:, half:], state)
    for number, row in enumerate(audio):
        want, after = alone.step(row[None])
        got = np.concatenate([first[number], second[number]])
        np.testing.assert_allclose(got, want[0], atol=1e-4)
        one = model.state_from_bytes(model.state_to_bytes(model.split(state)[number]))
        for name, value in after.items():
            np.testing.assert_allclose(one[name], value, atol=1e-4)


def test_bench_keeps_the_states_of_a_batch_on_the_device(on_cuda):
    model, sent = on_cuda
    batch = Batch.__new__(Batch)
    batch._acoustic = model
    times = batch.run(streams=4, chunk=1280, steps=3)["times"]
    assert len(times) == 3 and len(sent) == len(model.start())
    assert len(model._session.copied) == 4


@pytest.fixture
def lame_cuda(monkeypatch):
    """As with onnxruntime-gpu on a machine without a GPU, its driver or its libraries."""
    there = onnxruntime.get_available_providers()
    if "CUDAExecutionProvider" in there:
        pytest.skip("there may be a GPU")
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: [*there, "CUDAExecutionProvider"]
    )


@pytest.mark.usefixtures("lame_cuda")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_cuda_that_cannot_start_is_told_with_what_it_needs(folder, capfd):
    with pytest.raises(DeviceError, match=r"NVIDIA GPU.*pip install 'onnxruntime-gpu") as error:
        asr.load(folder, device="cuda", graph=None)
    assert "\n" not in str(error.value)
    assert asr.load(folder, device="auto", graph=None).acoustic.device == "cpu"
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("lame_cuda")
def test_int8_is_for_the_cpu(folder):
    with pytest.raises(DeviceError, match="int8 runs on the CPU only; use fp32 on cuda"):
        AcousticModel(Bundle.open(folder), "cuda", precision="int8")


def test_onnxruntime_reports_nothing(folder, tmp_path):
    """Where it reports to its maker, it keeps what it has to send in the cache of the user."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    code = f"import asr; asr.load({str(folder)!r}, graph=None)"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
