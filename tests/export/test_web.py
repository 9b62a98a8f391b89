"""The page in the browser hears what the runtime hears."""

import json
import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest

import asr
from asr.endpoint import Endpointer, EndpointRules
from asr.errors import ExportError, ModelError
from asr.export.web import PACKAGE, PAGE, VERSION, export
from asr.resampler import Resampler
from asr.results import Final
from asr.segmenter import Segmenter
from asr.task import Task
from tests.export.browser import Tab, chromium, serving
from tests.speech import ROOT, utterances

MODEL = ROOT / "models" / "en-small"
RATE = 16_000
FAKE = "--use-fake-device-for-media-stream"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web") / "page"
    export(MODEL, folder)
    return folder


@pytest.fixture(scope="module")
def recognizer():
    return asr.load(MODEL)


@pytest.fixture(scope="module")
def clips(recognizer):
    """Utterances in which no word is a matter of rounding: 8 bits and 32 have the same."""
    exact = asr.load(MODEL, precision="fp32")
    return [
        clip
        for clip in utterances("dev", 8, "commonvoice")
        if words(recognizer, clip.samples) == words(exact, clip.samples)
    ]


def words(recognizer, samples, rate=RATE):
    stream = recognizer.stream()
    events = stream.push(samples, rate) + stream.flush()
    return texts([event.segment for event in events if isinstance(event, Final)])


def texts(segments):
    return [segment.text for segment in segments]


def write(path, *parts):
    """A recording of clips, with two seconds of silence behind each."""
    samples = np.concatenate([np.pad(part, (0, 2 * RATE)) for part in parts])
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples.clip(-1, 1) * 32_767).astype("<i2").tobytes())
    return path


def run(script, *arguments):
    program = Path(__file__).parent / script
    done = subprocess.run(["node", program, *map(str, arguments)], capture_output=True, check=False)
    assert not done.returncode, done.stderr.decode()
    return done.stdout


def ready(tab, address):
    tab.open(address)
    tab.wait("!document.querySelector('#record').disabled")


def said(tab, words):
    tab.wait(f"document.querySelector('#status').textContent.startsWith({json.dumps(words)})")


def allow(tab, address, setting):
    """Let the page have the microphone, or not."""
    microphone = {"name": "microphone"}
    tab.send("Browser.setPermission", permission=microphone, setting=setting, origin=address)


def dropped(tab: Tab, path):
    """What is written of a recording that was dropped on the page."""
    tab.drop(path, "main")
    said(tab, "Ready. It took")
    return tab.texts("#finals p")


def test_the_search_is_the_runtimes(page, recognizer, tmp_path):
    """The same log-probabilities give the same words, times, partials and segments."""
    said = [clip.samples for clip in utterances("dev", 8)]
    said += [np.concatenate(said), np.concatenate([np.pad(each, (0, RATE)) for each in said])]
    pieces, want = [], []
    for samples in said:
        audio = np.pad(samples, (0, -len(samples) % 640 + 9 * 640))[None]
        log_probs = recognizer.acoustic.step(audio)[0][0, 6:]
        pieces += [np.float32(len(log_probs)).tobytes(), log_probs.tobytes()]
        segmenter = Segmenter(Task(recognizer.search), Endpointer(EndpointRules(), 0.04))
        state, finals, partials = None, [], []
        for begin in range(0, len(log_probs), 5):
            events, state = segmenter.step(log_probs[begin : begin + 5], state)
            finals += [event.segment for event in events if isinstance(event, Final)]
            said_so_far = [*state.texts]
            partials.append([" ".join(said_so_far), " ".join(said_so_far[: state.stable])])
        events = segmenter.flush(state)
        finals += [event.segment for event in events if isinstance(event, Final)]
        want.append((finals, partials))
    (tmp_path / "log_probs.f32").write_bytes(b"".join(pieces))

    answers = json.loads(run("decode.mjs", page, tmp_path / "log_probs.f32", 5))
    assert len(want[-2][0]) > 1, "no segment was cut at its longest"
    assert len(want[-1][0]) >= 8, "no segment ended in silence"
    for (finals, partials), answer in zip(want, answers, strict=True):
        assert answer["partials"] == partials
        assert [
            [(word["text"], word["start"], word["end"]) for word in segment["words"]]
            for segment in answer["finals"]
        ] == [[(word.text, word.start, word.end) for word in segment.words] for segment in finals]


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_the_resampler_is_good(page, rate, tmp_path):
    """As SoX's, up to 90 % of the band; what is above the band is not heard; cuts do not matter."""
    time = np.arange(rate) / rate
    pitches = [f for f in (200, 3_000, 7_000) if f < 0.45 * rate]
    aliases = [f for f in (8_100, 9_000, 15_000) if f < rate / 2] if rate > RATE else []
    voice = sum(0.2 * np.sin(2 * np.pi * f * time) for f in pitches).astype(np.float32)
    noise = sum((0.2 * np.sin(2 * np.pi * f * time) for f in aliases), 0 * time)
    file = tmp_path / "samples.f32"
    file.write_bytes((voice + noise).astype(np.float32).tobytes())
    got = np.frombuffer(run("resample.mjs", page, file, rate, 1_000), np.float32)
    np.testing.assert_array_equal(
        np.frombuffer(run("resample.mjs", page, file, rate, 77), np.float32), got
    )
    soxr = Resampler(rate, RATE)
    want = np.concatenate([soxr.step(voice), soxr.flush()])
    assert len(got) == len(want)
    np.testing.assert_allclose(got[1_000:-1_000], want[1_000:-1_000], atol=2e-4)


EAVESDROPPER = """
const post = Worker.prototype.postMessage;
Worker.prototype.postMessage = function (message, ...rest) {
  if (message.start) [globalThis.rate, globalThis.pushed] = [message.start, []];
  for (const sample of message.push ?? []) pushed.push(sample);
  return post.call(this, message, ...rest);
};
"""
"""Keeps what the page's microphone heard."""


def test_a_microphone_and_files_without_a_network(page, recognizer, clips, tmp_path):
    """Said and dropped words are the runtime's, also when the server is gone."""
    spoken = next(clip for clip in clips if words(recognizer, clip.samples) == [clip.text])
    clip = write(tmp_path / "spoken.wav", np.zeros(0), spoken.samples)
    recording = write(tmp_path / "recording.wav", *(clip.samples for clip in clips[:4]))
    want = texts(recognizer.transcribe(recording))
    assert len(want) >= 4
    with chromium(FAKE, f"--use-file-for-fake-audio-capture={clip}%noloop") as tab:
        tab.send("Page.enable")
        tab.send("Page.addScriptToEvaluateOnNewDocument", source=EAVESDROPPER)
        with serving(page) as address:
            ready(tab, address)
            allow(tab, address, "denied")
            tab.click("#record")
            said(tab, "The microphone is not allowed")
            allow(tab, address, "granted")
            tab.click("#record")
            tab.wait("document.querySelector('#level').ariaValueNow > 40")
            tab.wait("document.querySelector('#unstable').textContent")
            tab.wait("document.querySelector('#finals p')")
            tab.click("#record")
            said(tab, "Ready.")
            written = tab.texts("#finals p")
            assert set(spoken.text.split()) & set(" ".join(written).split())
            samples = np.array(tab.value("pushed"), np.float32)
            assert written == words(recognizer, samples, tab.value("rate"))
            assert tab.value("document.querySelector('#level').ariaValueNow") == "0"
            tab.click("#clear")
            assert dropped(tab, recording) == want
        ready(tab, address)
        assert dropped(tab, recording) == want


def test_what_is_missing_is_said(page, tmp_path):
    """No sound in a file, no microphone, no WebAssembly."""
    (tmp_path / "notes.txt").write_text("no sound")
    with chromium() as tab, serving(page) as address:
        ready(tab, address)
        tab.drop(tmp_path / "notes.txt", "main")
        said(tab, "notes.txt holds no sound")
        allow(tab, address, "granted")
        tab.click("#record")
        said(tab, "There is no microphone")
        assert tab.text("#record") == "Record"
        tab.send("Page.enable")
        tab.send("Page.addScriptToEvaluateOnNewDocument", source="delete globalThis.WebAssembly")
        tab.open(address + "index.html")
        said(tab, "This browser has no WebAssembly")
        assert tab.value("document.querySelector('#record').disabled")


@pytest.mark.parametrize("room", [1, 3_000_000])
def test_without_room_it_works_with_a_network(page, recognizer, clips, tmp_path, room):
    """A browser that may keep nothing, or no more than the page without its model."""
    recording = write(tmp_path / "recording.wav", clips[0].samples)
    with chromium() as tab, serving(page) as address:
        tab.send("Storage.overrideQuotaForOrigin", origin=address.rstrip("/"), quotaSize=room)
        for _ in range(2):
            ready(tab, address)
            assert "needs the network each time" in tab.text("#status")
            assert dropped(tab, recording) == texts(recognizer.transcribe(recording))


def test_a_damaged_folder_is_refused(page, tmp_path):
    folder = shutil.copytree(page, tmp_path / "page")
    graph = folder / "dictation.bin.gz"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    with chromium() as tab, serving(folder) as address:
        tab.open(address)
        said(tab, "dictation.bin.gz is damaged")
        assert tab.value("document.querySelector('#record').disabled")


def package(folder, version=VERSION):
    folder.mkdir()
    (folder / "package.json").write_text(json.dumps({"name": PACKAGE, "version": version}))
    return folder


def test_a_wrong_package_is_refused(tmp_path):
    with pytest.raises(ExportError, match=r"onnxruntime-web 1\.2\.3, the page is made for"):
        wrong = package(tmp_path / "wrong", "1.2.3")
        (wrong / "dist").mkdir()
        for name in ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"):
            (wrong / "dist" / name).touch()
        export(MODEL, tmp_path / "page", runtime=wrong)
    with pytest.raises(ExportError, match="not the package onnxruntime-web"):
        export(MODEL, tmp_path / "page", runtime=package(tmp_path / "empty"))
    assert not (tmp_path / "page").exists()


def test_without_npm_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExportError, match=r"npm.*missing.*--onnxruntime-web"):
        export(MODEL, tmp_path / "page")


def test_a_folder_of_something_else_stays(tmp_path):
    (tmp_path / "page").mkdir()
    with pytest.raises(ExportError, match="may be replaced"):
        export(MODEL, tmp_path / "page")
    with pytest.raises(ModelError):
        export(PAGE, tmp_path / "other")
