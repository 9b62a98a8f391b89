"""Audio of every kind comes out as mono float32 at 16 kHz, or is refused with the reason."""

import io
import logging
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.audio import duration, read, read_pcm, sanitise
from asr.errors import AudioError
from asr.resampler import Resampler
from tests.sound import record, tone

RATES = [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000]


def whole(source, rate: int = 16_000) -> np.ndarray:
    return np.concatenate(list(read(source, rate)))


def frequency(samples: np.ndarray, rate: int = 16_000) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * rate / len(samples))


def assert_is_tone(samples: np.ndarray, seconds: float, slack: float = 0.001) -> None:
    """The tone of 440 Hz at half of full scale, as long as it was recorded."""
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert len(samples) / 16_000 == pytest.approx(seconds, abs=slack)
    assert frequency(samples) == pytest.approx(440, abs=2)
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / math.sqrt(2), rel=0.05)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "opus", "m4a", "webm"])
def test_every_format_keeps_its_length_and_its_sound(tmp_path: Path, suffix: str) -> None:
    path = record(tmp_path / f"tone.{suffix}", tone(2, 48_000), 48_000)
    assert_is_tone(whole(path), 2, slack=0.03)
    assert duration(path) == pytest.approx(2, abs=0.1)


def test_the_sound_of_a_video_is_read(tmp_path: Path) -> None:
    path = record(tmp_path / "film.mp4", tone(2, 44_100), 44_100, codec="aac", video=True)
    assert_is_tone(whole(path), 2, slack=0.05)


@pytest.mark.parametrize("rate", RATES)
def test_every_rate_is_brought_to_the_model_s(tmp_path: Path, rate: int) -> None:
    assert_is_tone(whole(record(tmp_path / "tone.wav", tone(1.5, rate), rate)), 1.5)


@pytest.mark.parametrize(
    "codec",
    ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_mulaw"],
)
def test_every_width_of_sample_is_brought_to_full_scale(tmp_path: Path, codec: str) -> None:
    assert_is_tone(whole(record(tmp_path / "tone.wav", tone(1), codec=codec)), 1)


@pytest.mark.parametrize("count", [2, 6])
def test_channels_are_averaged(tmp_path: Path, count: int) -> None:
    channels = np.zeros((16_000, count), np.float32)
    channels[:, 0] = tone(1)
    samples = whole(record(tmp_path / "tone.wav", channels))
    np.testing.assert_allclose(samples, tone(1) / count, atol=1e-4)


def test_an_open_file_is_read_like_its_path(tmp_path: Path) -> None:
    path = record(tmp_path / "tone.flac", tone(1))
    with path.open("rb") as file:
        np.testing.assert_array_equal(whole(file), whole(path))
    np.testing.assert_array_equal(whole(io.BytesIO(path.read_bytes())), whole(path))


def test_a_name_with_a_colon_is_a_file_and_no_protocol(tmp_path: Path) -> None:
    assert_is_tone(whole(record(tmp_path / "tone.wav", tone(1)).rename(tmp_path / "http:x.wav")), 1)


def test_a_long_file_comes_in_short_blocks(tmp_path: Path) -> None:
    path = record(tmp_path / "long.flac", tone(60))
    blocks = [len(block) for block in read(path, 16_000)]
    assert sum(blocks) == 60 * 16_000 and max(blocks) < 2 * 16_000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b"no sound at all\n" * 99, "no audio that FFmpeg"),
    ],
)
def test_what_holds_no_sound_is_refused(tmp_path: Path, content, reason: str) -> None:
    path = tmp_path / "talk.mp3"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError, match=rf"talk\.mp3.*{reason}"):
        whole(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="directory"):
        whole(tmp_path)


def test_a_film_without_sound_is_refused(tmp_path: Path) -> None:
    import av

    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        black = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        for packet in [*stream.encode(black), *stream.encode(None)]:
            container.mux(packet)
    with pytest.raises(AudioError, match="has no audio stream"):
        whole(path)


def test_a_recording_without_samples_is_refused(tmp_path: Path) -> None:
    path = record(tmp_path / "tone.wav", tone(1))
    path.write_bytes(path.read_bytes()[:78])
    with pytest.raises(AudioError, match="nothing could be decoded"):
        whole(path)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "webm"])
def test_a_truncated_file_gives_what_it_has(tmp_path: Path, suffix: str) -> None:
    path = record(tmp_path / f"tone.{suffix}", tone(8, 48_000), 48_000)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    samples = whole(path)
    assert 2 < len(samples) / 16_000 < 6
    assert frequency(samples) == pytest.approx(440, abs=2)


def test_a_format_that_says_no_length_is_not_called_damaged(tmp_path: Path, caplog) -> None:
    mode = {"codec": "libopencore_amrnb", "bits": 12_200}
    path = record(tmp_path / "message.amr", tone(60, 8_000), 8_000, **mode)
    with caplog.at_level(logging.WARNING):
        assert len(whole(path)) / 16_000 == pytest.approx(60, abs=0.1)
    assert not caplog.text


@pytest.mark.parametrize("suffix", ["flac", "mp3"])
def test_a_truncated_file_is_told_of(tmp_path: Path, suffix: str, caplog) -> None:
    path = record(tmp_path / f"tone.{suffix}", tone(8, 48_000), 48_000)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with caplog.at_level(logging.WARNING):
        whole(path)
    assert f"tone.{suffix} is damaged" in caplog.text


def test_a_file_with_a_hole_gives_both_sides_of_it(tmp_path: Path) -> None:
    path = record(tmp_path / "tone.mp3", tone(8, 48_000), 48_000)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(range(250)) * 12
    path.write_bytes(content)
    samples = whole(path)
    assert len(samples) / 16_000 > 7
    assert frequency(samples[-16_000:]) == pytest.approx(440, abs=2)


def test_raw_samples_are_read_from_a_pipe() -> None:
    samples = (tone(1, 8_000) * 32_767).astype("<i2").tobytes()
    assert_is_tone(np.concatenate(list(read_pcm(io.BytesIO(samples), 8_000))), 1)


def test_half_a_raw_sample_is_left_out(caplog) -> None:
    samples = (tone(1) * 32_767).astype("<i2").tobytes()
    with caplog.at_level(logging.WARNING):
        assert_is_tone(np.concatenate(list(read_pcm(io.BytesIO(samples + b"x"), 16_000))), 1)
    assert "half a sample" in caplog.text


@pytest.mark.parametrize(
    "scale",
    [(np.int16, 2**15), (np.int32, 2**31), (np.float64, 1), (np.float32, 1), (np.float16, 1)],
)
def test_samples_of_any_type_are_brought_to_full_scale(scale) -> None:
    dtype, full = scale
    samples = (tone(0.1).astype(np.float64) * full).astype(dtype)
    np.testing.assert_allclose(sanitise(samples), tone(0.1), atol=1e-3)


def test_bytes_are_centred() -> None:
    np.testing.assert_array_equal(sanitise(np.array([0, 128, 192], np.uint8)), [-1, 0, 0.5])


def test_what_is_not_finite_is_silence_and_what_is_too_loud_is_clipped() -> None:
    samples = [math.nan, math.inf, -math.inf, 3.0, -1e300, 0.25]
    np.testing.assert_array_equal(sanitise(samples), [0, 0, 0, 1, -1, 0.25])
    np.testing.assert_array_equal(sanitise([[math.nan, 0.5], [1, 0]]), [0.25, 0.5])


def test_nothing_is_audio_of_no_length() -> None:
    assert sanitise([]).shape == (0,) and sanitise(np.zeros((0, 2))).shape == (0,)


@pytest.mark.parametrize(
    "samples",
    [
        "sound",
        ["a"],
        [1, 2],
        [[1.0], [1.0, 2.0]],
        np.zeros((2, 2, 2)),
        0.5,
        None,
        [1j],
        np.zeros((2, 48_000)),
        np.zeros((3, 0)),
        [True],
    ],
    ids=str,
)
def test_what_is_no_audio_is_refused(samples) -> None:
    with pytest.raises(AudioError, match="expected"):
        sanitise(samples)


@pytest.mark.parametrize(
    "rate", [0, -16_000, math.nan, math.inf, 1e9, 22_050.5, "16000", None, True]
)
def test_wrong_rates_are_refused(rate) -> None:
    with pytest.raises(AudioError, match="expected a sampling rate"):
        Resampler(rate, 16_000)
    with pytest.raises(AudioError, match="expected a sampling rate"):
        list(read_pcm(io.BytesIO(bytes(100)), rate))


cuts = st.lists(st.integers(0, 9_000), max_size=20)


@given(rate=st.sampled_from(RATES), cuts=cuts, seed=st.integers(0, 9))
def test_resampling_does_not_depend_on_the_cut(rate: int, cuts: list[int], seed: int) -> None:
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, 20_000).astype(np.float32)
    one = Resampler(rate, 16_000)
    expected = np.concatenate([one.step(noise), one.flush()])
    assert abs(len(expected) - len(noise) * 16_000 / rate) <= 1
    many = Resampler(rate, 16_000)
    pieces = np.split(noise, np.clip(np.cumsum(cuts, dtype=int), 0, len(noise)))
    result = np.concatenate([*map(many.step, pieces), many.flush()])
    np.testing.assert_allclose(result, expected, atol=1e-5)


@given(
    rate=st.one_of(st.sampled_from(RATES), st.integers(1_000, 60_000)),
    cuts=st.lists(st.integers(0, 30_000), min_size=1, max_size=6),
)
def test_a_resumed_resampler_goes_on_as_if_never_interrupted(rate: int, cuts: list[int]) -> None:
    noise = np.random.default_rng(rate).uniform(-0.5, 0.5, 60_000).astype(np.float32)
    one = Resampler(rate, 16_000)
    expected = np.concatenate([one.step(noise), one.flush()])
    resampler, result = Resampler(rate, 16_000), []
    for piece in np.split(noise, np.clip(np.cumsum(cuts), 0, len(noise))):
        result.append(resampler.step(piece))
        resampler = Resampler.resume(rate, 16_000, resampler.recent, *resampler.position)
    result = np.concatenate([*result, resampler.flush()])
    assert len(result) == len(expected)
    np.testing.assert_allclose(result, expected, atol=2e-5)
    assert resampler.position == (len(noise), len(expected))


def test_importing_audio_loads_no_decoder() -> None:
    code = "import asr.audio, sys; sys.exit('av' in sys.modules or 'soxr' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
