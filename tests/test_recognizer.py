"""The whole chain on the model that ships: however audio arrives, the same words come out."""

import ctypes
import gc
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from difflib import SequenceMatcher
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import asr
from asr.decoding.lexicon import TOKENS
from asr.errors import AudioError, DeviceError, GraphError, ModelError
from asr.export.verify import sound
from asr.nn.model import CtcModel
from tests.decoding.world import small_graph
from tests.models import export_tiny, tiny
from tests.speech import ROOT, utterances

RATE = 16_000
MODEL = ROOT / "models" / "en-small"
FRAME = 0.04


@pytest.fixture(scope="module")
def recognizer() -> asr.Recognizer:
    return asr.load(MODEL)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Ten seconds of a reader with a pause in it."""
    first, second = utterances("dev", count=2, source="speechocean762")
    pause = np.zeros(int(1.5 * RATE), np.float32)
    return np.concatenate([first.samples, pause, second.samples])


def events(stream, samples, size=2560, rate=RATE):
    heard = []
    for begin in range(0, len(samples), size):
        heard += stream.push(samples[begin : begin + size], rate)
    return heard + stream.flush()


def finals(heard) -> list[asr.Segment]:
    return [event.segment for event in heard if isinstance(event, asr.Final)]


def text(heard) -> str:
    return " ".join(segment.text for segment in finals(heard))


def words(heard) -> list[asr.Word]:
    return [word for segment in finals(heard) for word in segment.words]


@pytest.fixture(scope="module")
def whole(recognizer, speech):
    """The events of the speech, pushed at once."""
    return events(recognizer.stream(), speech, size=len(speech))


def assert_same(heard, whole):
    assert text(heard) == text(whole)
    for one, other in zip(words(heard), words(whole), strict=True):
        assert one.start == pytest.approx(other.start, abs=FRAME + 1e-9)
        assert one.end == pytest.approx(other.end, abs=FRAME + 1e-9)


def test_words_are_heard(whole, speech):
    assert len(words(whole)) >= 5
    assert len(finals(whole)) >= 2  # the pause is an endpoint
    ends = 0.0
    for word in words(whole):
        assert ends <= word.start < word.end <= len(speech) / RATE
        assert 0 <= word.confidence <= 1
        ends = word.start
    for segment in finals(whole):
        assert segment.text == " ".join(word.text for word in segment.words)
        assert (segment.start, segment.end) == (segment.words[0].start, segment.words[-1].end)


@pytest.mark.parametrize("size", [112, 640, 2560, RATE])
def test_equal_chunks_equal_the_whole(recognizer, speech, whole, size):
    assert_same(events(recognizer.stream(), speech, size), whole)


def test_single_samples_equal_the_whole(recognizer, speech):
    short = speech[: 3 * RATE]
    whole = events(recognizer.stream(), short, size=len(short))
    assert_same(events(recognizer.stream(), short, size=1), whole)


@settings(max_examples=10)
@given(sizes=st.lists(st.integers(0, 30_000), min_size=1, max_size=12))
def test_any_cut_equals_the_whole(recognizer, speech, whole, sizes):
    stream = recognizer.stream()
    heard = []
    for piece in np.split(speech, np.minimum(np.cumsum(sizes), len(speech))):
        heard += stream.push(piece, RATE)
    assert_same(heard + stream.flush(), whole)


def test_what_is_stable_stays(recognizer):
    for utterance in utterances("dev", count=4, source="librispeech"):
        stable = ""
        for event in events(recognizer.stream(), utterance.samples, size=1280):
            if isinstance(event, asr.Partial):
                assert event.text.startswith(event.stable)
                assert event.stable.startswith(stable)
                stable = event.stable
            elif isinstance(event, asr.Final):
                assert event.segment.text.startswith(stable)
                stable = ""


def test_events_come_in_order(whole, recognizer, speech):
    heard = events(recognizer.stream(), speech)
    kinds = [type(event) for event in heard if not isinstance(event, asr.Partial)]
    assert kinds == [asr.SpeechStart, asr.Final, asr.SpeechEnd] * len(finals(whole))


def test_interleaved_streams_do_not_touch_each_other(recognizer, speech, whole):
    streams = [recognizer.stream() for _ in range(3)]
    heard = [[], [], []]
    for begin in range(0, len(speech), 4000):
        for events_of, stream in zip(heard, streams, strict=True):
            events_of += stream.push(speech[begin : begin + 4000], RATE)
    for events_of, stream in zip(heard, streams, strict=True):
        assert_same(events_of + stream.flush(), whole)


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
def test_another_rate_gives_the_same_words(recognizer, speech, whole, rate):
    resampled = soxr.resample(speech, RATE, rate)
    assert text(events(recognizer.stream(), resampled, 4410, rate)) == text(whole)


def test_integers_and_channels_give_the_same_words(recognizer, speech, whole):
    stereo = np.stack([speech, speech], axis=1)
    integers = (stereo * 32767).round().astype(np.int16)
    assert text(events(recognizer.stream(), integers)) == text(whole)


@settings(max_examples=8)
@given(share=st.floats(0, 1), rate=st.sampled_from([RATE, 44_100]))
def test_restored_equals_uninterrupted(recognizer, speech, share, rate):
    samples = speech if rate == RATE else soxr.resample(speech, RATE, rate)
    uninterrupted = events(recognizer.stream(), samples, 2000, rate)
    stream = recognizer.stream()
    cut = int(share * len(samples)) // 2000 * 2000
    heard = []
    for begin in range(0, cut, 2000):
        heard += stream.push(samples[begin : begin + 2000], rate)
    snapshot = stream.snapshot()
    restored = recognizer.restore(snapshot)
    heard += events(restored, samples[cut:], 2000, rate)
    assert text(heard) == text(uninterrupted)
    if rate == RATE:
        assert heard == uninterrupted
    assert len(snapshot) < 300_000


def test_a_stream_goes_on_in_another_process(recognizer, speech, tmp_path):
    stream = recognizer.stream()
    half = len(speech) // 2
    heard = stream.push(speech[:half], RATE)
    (tmp_path / "snapshot").write_bytes(stream.snapshot())
    np.save(tmp_path / "rest.npy", speech[half:])
    program = (
        "import asr, numpy as np, sys\n"
        f"stream = asr.load({str(MODEL)!r}).restore(open('snapshot', 'rb').read())\n"
        "events = stream.push(np.load('rest.npy'), 16000) + stream.flush()\n"
        "print(' '.join(e.segment.text for e in events if isinstance(e, asr.Final)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    here = text(heard + stream.push(speech[half:], RATE) + stream.flush())
    assert " ".join([text(heard), done.stdout.strip()]).strip() == here


@pytest.mark.parametrize("snapshot", [b"", b"PK\x03\x04", b"nonsense" * 100])
def test_a_damaged_snapshot_is_refused(recognizer, snapshot):
    with pytest.raises(ModelError, match="damaged"):
        recognizer.restore(snapshot)


def test_a_snapshot_of_another_model_is_refused(recognizer, tmp_path):
    other = asr.load(export_tiny(tmp_path / "other"), graph=None)
    with pytest.raises(ModelError, match="is of model"):
        recognizer.restore(other.stream().snapshot())


def test_a_snapshot_of_another_graph_is_refused(recognizer, speech, tmp_path, monkeypatch):
    """A segment goes on from where the words before have led to in its graph."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    small_graph().save(tmp_path / "small.graph")
    other = asr.load(MODEL, graph=tmp_path / "small.graph")
    for heard in (speech[:0], speech):
        stream = recognizer.stream()
        stream.push(heard, RATE)
        with pytest.raises(GraphError, match="the graph that was begun with"):
            other.restore(stream.snapshot())


def test_no_sample_is_left_undecoded(recognizer):
    """The last word is there when the audio ends with it."""
    for utterance in utterances("dev", count=3, source="librispeech"):
        heard = words(events(recognizer.stream(), utterance.samples))
        cut = utterance.samples[: round((heard[-1].end + FRAME) * RATE)]
        again = words(events(recognizer.stream(), cut, size=777))
        assert again[-1].text == heard[-1].text
        assert again[-1].end <= len(cut) / RATE + 1e-9


def test_no_word_is_lost_after_an_endpoint(recognizer):
    """What was not understood may be taken for other words: others were said before.

    A word that another one follows then may end elsewhere.
    """
    starts, ends, total = list[float](), list[float](), 0
    for utterance in utterances("dev", count=24, source="speechocean762"):
        pause = np.zeros(2 * RATE, np.float32)
        twice = np.concatenate([utterance.samples, pause, utterance.samples])
        first, second = finals(events(recognizer.stream(), twice))
        apart = (len(utterance.samples) + len(pause)) / RATE
        assert second.start - first.start < apart + 5 * FRAME
        assert second.end - first.end == pytest.approx(apart, abs=5 * FRAME)
        heard = SequenceMatcher(None, first.text.split(), second.text.split())
        for a, b, size in heard.get_matching_blocks():
            pairs = [*zip(first.words[a : a + size], second.words[b : b + size], strict=True)]
            closes = a + size == len(first.words) and b + size == len(second.words)
            starts += [other.start - one.start - apart for one, other in pairs]
            ends += [other.end - one.end - apart for one, other in pairs[: None if closes else -1]]
        total += len(first.words)
    assert len(starts) >= 0.75 * total
    assert np.abs(ends).max() < 2 * FRAME
    assert np.mean(np.abs(starts) < 2 * FRAME) >= 0.98


def test_after_a_flush_the_stream_goes_on_and_so_does_time(recognizer, speech, whole):
    stream = recognizer.stream()
    first = stream.push(speech, RATE) + stream.flush()
    second = stream.push(speech, RATE) + stream.flush()
    assert text(first) == text(second) == text(whole)
    shift = len(speech) / RATE
    for one, other in zip(words(first), words(second), strict=True):
        assert other.start - one.start == pytest.approx(shift, abs=1e-3)
    assert stream.time == pytest.approx(2 * shift)


def test_a_long_monologue_is_cut_without_losing_words(recognizer):
    utterance = max(utterances("dev", 20, "librispeech"), key=lambda one: len(one.samples))
    rules = asr.EndpointRules(silence=60, longest=5.0)
    cut = events(recognizer.stream(rules), utterance.samples)
    whole = events(recognizer.stream(asr.EndpointRules(silence=60, longest=60)), utterance.samples)
    assert len(finals(cut)) > 1
    assert all(segment.end - segment.start <= 5.0 for segment in finals(cut))
    assert len(words(cut)) == pytest.approx(len(words(whole)), rel=0.15)


def test_the_runtime_hears_what_torch_hears(tmp_path):
    """Greedy phones of the exported model, streamed, and of the model in torch, at once."""
    model = tiny()
    recognizer = asr.load(export_tiny(tmp_path / "tiny", model), graph=None)
    (audio,) = sound(1)
    heard = events(recognizer.stream(asr.EndpointRules(silence=60)), audio, size=1000)
    padded = np.pad(audio, (0, (2 + 3) * 640))  # look-ahead and the silence behind
    with torch.inference_mode():
        outputs, _ = model.step(torch.from_numpy(padded[None]), model.start(1))
    best = torch.unique_consecutive(outputs["phones"][0, 2:].argmax(-1)).tolist()
    assert text(heard) == " ".join(TOKENS[token] for token in best if token)
    assert isinstance(model, CtcModel)


def test_nothing_comes_of_nothing(recognizer):
    stream = recognizer.stream()
    assert stream.flush() == []
    assert stream.push(np.zeros(0, np.float32), RATE) == []
    assert stream.push([], RATE) == []
    assert stream.flush() == []
    assert events(recognizer.stream(), np.zeros(10 * RATE, np.float32)) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_silence(recognizer, speech, value):
    silent, broken = speech.copy(), speech.copy()
    silent[1000:2000], broken[1000:2000] = 0, value
    heard = events(recognizer.stream(), broken)
    assert heard == events(recognizer.stream(), silent)
    assert words(heard)


def test_samples_out_of_range_are_clipped(recognizer, speech):
    loud = speech / np.abs(speech).max() * 1.5
    heard = events(recognizer.stream(), loud)
    assert heard == events(recognizer.stream(), loud.clip(-1, 1))
    assert words(heard)


@pytest.mark.parametrize("rate", [0, -16_000, float("nan"), "fast"])
def test_a_rate_that_is_none_is_refused(recognizer, rate):
    with pytest.raises(AudioError, match="rate"):
        recognizer.stream().push(np.zeros(100, np.float32), rate)


@pytest.mark.parametrize("samples", ["words", np.zeros((2, 2, 2)), np.zeros(3, complex)])
def test_samples_that_are_no_audio_are_refused(recognizer, samples):
    with pytest.raises(AudioError):
        recognizer.stream().push(samples, RATE)


def test_a_file_is_transcribed_as_its_stream(recognizer):
    (utterance,) = utterances("dev", count=1, source="librispeech")
    heard = list(recognizer.events(utterance.path))
    assert_same(heard, events(recognizer.stream(), utterance.samples))
    assert recognizer.transcribe(utterance.path) == finals(heard)


def test_loading_says_what_is_wrong(tmp_path):
    with pytest.raises(ModelError, match="no model folder"):
        asr.load(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="no graph 'karaoke'"):
        asr.load(MODEL, graph="karaoke")
    with pytest.raises(DeviceError, match="unknown device"):
        asr.load(MODEL, device="abacus")


def test_import_costs_numpy_and_onnxruntime_and_no_more():
    program = (
        "import sys, numpy, onnxruntime\nbefore = set(sys.modules)\nimport asr\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(new - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["asr"]


def test_an_hour_leaves_memory_as_it_was():
    """In a process of its own: what other tests have left in the heap moves by more than this."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=without_huge_pages) as pool:
        assert pool.submit(growth_in_an_hour).result() < 5


def without_huge_pages() -> None:
    """Let nobody, the kernel included, make 2 MB of memory of what a program takes less of."""
    ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE


def growth_in_an_hour() -> float:
    """MB that an hour of speech adds after the first minute, a second at a time."""
    spoken = np.concatenate([u.samples for u in utterances("dev", 12, "librispeech")])
    stream = asr.load(MODEL).stream()
    after_a_minute = 0.0
    for second in range(3600):
        begin = second * RATE % (len(spoken) - RATE)
        stream.push(spoken[begin : begin + RATE], RATE)
        if second == 60:
            after_a_minute = resident()
    return resident() - after_a_minute


def resident() -> float:
    """MB of this process in memory that are in use and of no file, which the system may drop."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / 1024
