"""However streams are cut, stacked, saved and restored, the log-probabilities are the same."""

import io

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.acoustic import AcousticModel
from asr.bundle import Bundle
from asr.errors import DeviceError, ModelError
from asr.export.verify import sound
from asr.nn.cells import CELLS
from asr.nn.model import FRAME
from tests.models import export_tiny, tiny


@pytest.fixture(scope="module", params=CELLS)
def bundle(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / request.param
    return Bundle.open(export_tiny(folder, tiny(request.param)))


@pytest.fixture(scope="module", params=[False, True], ids=["arrays", "bound"])
def model(request, bundle):
    return AcousticModel(bundle, bind=request.param)


def stream(model, audio, cuts, state=None):
    pieces, begin = [], 0
    for frames in cuts:
        log_probs, state = model.step(audio[:, begin : begin + frames * FRAME], state)
        pieces.append(log_probs)
        begin += frames * FRAME
    return np.concatenate(pieces, axis=1), state


@settings(max_examples=10)
@given(cuts=st.lists(st.integers(0, 9), min_size=1, max_size=6), streams=st.sampled_from([1, 2, 5]))
def test_any_cut_equals_the_whole(model, cuts, streams):
    audio = sound(streams)[:, : sum(cuts) * FRAME]
    whole, _ = model.step(audio)
    assert whole.shape == (streams, sum(cuts), 40)
    np.testing.assert_allclose(stream(model, audio, cuts)[0], whole, atol=1e-4)


def test_a_batch_equals_its_streams(model):
    """Streams that began at different times, taken together and apart again."""
    audio = sound(3)
    alone = [stream(model, row[None], [10, 20, 20])[0] for row in audio]
    states = [stream(model, row[None], [10])[1] for row in audio]
    together, state = stream(model, audio[:, 10 * FRAME :], [20], model.stack(states))
    apart = [
        stream(model, row[None, 30 * FRAME :], [20], one)[0]
        for row, one in zip(audio, model.split(state), strict=True)
    ]
    for whole, middle, end in zip(alone, together, apart, strict=True):
        np.testing.assert_allclose(middle, whole[0, 10:30], atol=1e-4)
        np.testing.assert_allclose(end, whole[:, 30:], atol=1e-4)


def test_a_restored_state_goes_on(model, bundle):
    audio = sound(2)
    whole, _ = stream(model, audio, [25, 25])
    _, state = stream(model, audio, [25])
    restored = AcousticModel(bundle).state_from_bytes(model.state_to_bytes(state))
    rest, _ = stream(model, audio[:, 25 * FRAME :], [25], restored)
    np.testing.assert_array_equal(rest, whole[:, 25:])


def test_steps_do_not_change_the_state_they_are_given(model):
    audio = sound(1)
    _, state = stream(model, audio, [10])
    first, _ = model.step(audio, state)
    second, _ = model.step(audio, state)
    np.testing.assert_array_equal(first, second)


def test_a_damaged_state_is_refused(model):
    data = model.state_to_bytes(model.start())
    for wrong in (b"", b"PK", data[: len(data) // 2], b"x" * 100):
        with pytest.raises(ModelError, match="damaged"):
            model.state_from_bytes(wrong)


@pytest.mark.parametrize(
    "change",
    [lambda x: x[:, :-1], lambda x: x.astype(np.float64), lambda x: x[..., None], np.concatenate],
    ids=["shorter", "wider", "deeper", "other streams"],
)
@pytest.mark.parametrize("name", ["samples", "hidden"])
def test_a_saved_state_of_another_shape_is_refused(model, name, change):
    state = {**model.start(2), "identity": np.array(model.bundle.identity)}
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **{**state, name: change(state[name])})
    with pytest.raises(ModelError, match=r"damaged: .* expected float32"):
        model.state_from_bytes(file.getvalue())


def test_the_state_of_another_model_is_refused(model, tmp_path):
    other = AcousticModel(Bundle.open(export_tiny(tmp_path / "other", tiny("gru", seed=9))))
    with pytest.raises(ModelError, match="is of model"):
        model.state_from_bytes(other.state_to_bytes(other.start()))


@pytest.mark.parametrize(
    "audio",
    [
        np.zeros((1, 641), np.float32),
        np.zeros((1, 640)),
        np.zeros(640, np.float32),
        np.zeros((1, 640), np.int16),
    ],
)
def test_audio_of_another_shape_or_type_is_refused(model, audio):
    with pytest.raises(ModelError, match="expected audio"):
        model.step(audio)


def test_a_state_of_other_streams_is_refused(model):
    with pytest.raises(ModelError, match="does not fit 2 streams"):
        model.step(sound(2), model.start(3))


def test_devices_that_are_not_there_are_named(bundle):
    there = onnxruntime.get_available_providers()
    with pytest.raises(DeviceError, match="known are cpu, cuda and auto"):
        AcousticModel(bundle, device="tpu")
    if "CUDAExecutionProvider" not in there:
        with pytest.raises(DeviceError, match=", ".join(there)):
            AcousticModel(bundle, device="cuda")
    assert AcousticModel(bundle, device="auto").device in ("cpu", "cuda")
