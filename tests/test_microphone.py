"""A PulseAudio null sink is the microphone, and `asr mic` listens to it."""

import itertools
import json
import os
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from asr.errors import DeviceError
from asr.microphone import Device, choose
from tests.cli.command import SAID, assert_heard, run, sentence, start
from tests.pulse import Pulse, pulse
from tests.sound import record

DEVICES = [
    Device(0, "HDA Intel PCH: ALC257 Analog", 2, 44_100),
    Device(3, "USB Microphone: Audio", 1, 48_000),
    Device(4, "USB Camera: Audio", 1, 32_000),
    Device(7, "default", 32, 44_100, default=True),
    Device(8, "default of old", 32, 44_100),
]


@pytest.mark.parametrize(
    ("wanted", "number"),
    [(None, 7), ("3", 3), ("intel", 0), ("usb m", 3), ("CAMERA", 4), ("default", 7), ("old", 8)],
)
def test_a_device_is_chosen_by_number_or_part_of_its_name(wanted: str | None, number: int) -> None:
    assert choose(DEVICES, wanted).number == number


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("usb", "2 microphones match 'usb'.*3 USB Microphone.*4 USB Camera"),
        ("guitar", "no microphone is 'guitar'.*0 HDA.*8 default of old"),
        ("5", "no microphone is '5'.*0 HDA"),
    ],
)
def test_a_device_that_is_not_clear_is_refused_with_a_list(wanted: str, reason: str) -> None:
    with pytest.raises(DeviceError, match=reason):
        choose(DEVICES, wanted)


def test_no_device_at_all_is_told() -> None:
    with pytest.raises(DeviceError, match="there is no microphone"):
        choose([])


@pytest.fixture
def sound(tmp_path: Path) -> Iterator[Pulse]:
    with pulse(tmp_path) as running:
        yield running


@pytest.fixture
def old_man(tmp_path: Path) -> Path:
    """A sentence that ends with its last word."""
    return record(tmp_path / "old-man.wav", sentence(1)[: round(3.95 * 16_000)])


def listening(sound: Pulse, *options: str | Path) -> subprocess.Popen[str]:
    process = start("mic", *options, env=sound.environment)
    assert "listening to default" in process.stderr.readline()
    return process


def finished(process: subprocess.Popen[str]) -> tuple[str, str]:
    return process.communicate(timeout=30)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_words_are_read_as_json_and_none_is_lost_at_the_end(
    sound: Pulse, old_man: Path, stop: signal.Signals
) -> None:
    process = listening(sound, "--json")
    sound.play(old_man)
    process.send_signal(stop)
    output, errors = finished(process)
    assert (process.returncode, errors) == (0, "")
    events = [json.loads(line) for line in output.splitlines()]
    final = [event for event in events if event["type"] == "final"][-1]
    assert_heard(final["text"], SAID[1])
    assert final["text"].endswith("night") and final["words"][-1]["text"] == "night"
    partials = [event for event in events if event["type"] == "partial"]
    assert len(partials) > 5
    for before, after in itertools.pairwise(partials):
        assert after["stable"].startswith(before["stable"]) and after["time"] > before["time"]


def test_without_json_the_finals_are_printed(sound: Pulse, old_man: Path) -> None:
    process = listening(sound, "-d", "default")
    sound.play(old_man)
    process.send_signal(signal.SIGINT)
    output, _ = finished(process)
    assert_heard(output, SAID[1])
    assert output.count("\n") == 1 and "\x1b" not in output


def test_only_words_that_are_listed_are_heard(sound: Pulse, old_man: Path) -> None:
    process = listening(sound, "--words-only", f"stop,{SAID[1]}")
    sound.play(old_man)
    process.send_signal(signal.SIGINT)
    assert finished(process)[0] == f"{SAID[1]}\n"


def test_an_unplugged_device_is_told_and_what_it_heard_is_kept(sound: Pulse, old_man: Path) -> None:
    process = listening(sound)
    sound.play(old_man)
    sound.unplug()
    output, errors = finished(process)
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith("asr: microphone default gives no more sound")
    assert_heard(output, SAID[1])


def test_a_saved_recording_is_whole_even_when_killed(
    sound: Pulse, old_man: Path, tmp_path: Path
) -> None:
    process = listening(sound, "--save", tmp_path / "heard.wav")
    sound.play(old_man)
    process.kill()
    finished(process)
    with wave.open(str(tmp_path / "heard.wav")) as heard:
        samples = np.frombuffer(heard.readframes(heard.getnframes()), "<i2")
        assert len(samples) == heard.getnframes()
        assert len(samples) / heard.getframerate() > 3.5
    assert np.abs(samples).max() > 1000
    assert_heard(run("transcribe", tmp_path / "heard.wav").stdout, SAID[1], 0.7)


def test_a_full_disk_while_saving_is_told(sound: Pulse) -> None:
    process = start("mic", "--save", "/dev/full", env=sound.environment)
    _, errors = finished(process)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == "asr: cannot write /dev/full: No space left on device"


def test_devices_are_listed(sound: Pulse) -> None:
    result = run("mic", "--list-devices", env=sound.environment)
    assert result.returncode == 0
    assert [line for line in result.stdout.splitlines() if line.startswith("*")]
    assert "default" in result.stdout


def test_an_unknown_device_is_told(sound: Pulse) -> None:
    result = run("mic", "-d", "guitar", env=sound.environment)
    assert result.returncode == 1
    assert result.stderr.startswith("asr: no microphone is 'guitar'")


def test_what_does_not_fit_the_queue_is_dropped_and_counted(sound: Pulse) -> None:
    code = """
import time
import asr.microphone
from asr.microphone import Microphone, choose, devices

asr.microphone.QUEUE_SECONDS = 0.4
with Microphone(choose(devices())) as microphone:
    deadline = time.monotonic() + 10
    while microphone.dropped < microphone.device.rate and time.monotonic() < deadline:
        time.sleep(0.1)
    rate = microphone.device.rate
    print(len(next(microphone.blocks())) / rate, microphone.dropped / rate)
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=sound.environment,
        check=True,
        stdout=subprocess.PIPE,
        timeout=30,
    )
    kept, dropped = map(float, result.stdout.split())
    assert kept == pytest.approx(0.4, abs=0.05) and dropped >= 1


def test_without_sounddevice_it_says_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text("raise ImportError")
    result = run("mic", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert result.returncode == 1
    assert result.stderr == ("asr: the microphone needs sounddevice: pip install 'rill-asr[mic]'\n")
