"""Names that a user gives are heard by the model that ships, and cost next to nothing."""

import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

import asr
from asr.audio import read
from asr.decoding.phrases import Phrase, with_phrases
from asr.endpoint import Endpointer, EndpointRules
from asr.recognizer import Recognizer
from asr.results import Event, Final
from asr.segmenter import Segmenter
from asr.stream import Stream
from tests.speech import ROOT, utterances
from tests.test_recognizer import resident, without_huge_pages

NAMES = [Phrase("mildenhurst"), Phrase("belgarion")]


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return asr.load(ROOT / "models" / "en-small")


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return spoken("the train to mildenhurst was late", tmp_path_factory.mktemp("train"))


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return spoken("we asked belgarion to open the door", tmp_path_factory.mktemp("door"))


def spoken(text: str, folder: Path) -> np.ndarray:
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    path = folder / "voice.wav"
    subprocess.run(["espeak-ng", "-v", "en-us", "-s", "140", "-w", path, text], check=True)
    return np.concatenate(list(read(path, 16_000)))


def text(stream: Stream, samples: np.ndarray) -> str:
    return finals([*stream.push(samples, 16_000), *stream.flush()])


def finals(events: list[Event]) -> str:
    return " ".join(event.segment.text for event in events if isinstance(event, Final))


def test_invented_names_are_heard_with_their_phrase_only(recognizer, train, door):
    assert "mildenhurst" not in text(recognizer.stream(), train)
    assert "mildenhurst" not in text(recognizer.stream(phrases=NAMES[1:]), train)
    assert "mildenhurst" in text(recognizer.stream(phrases=NAMES), train)
    assert "belgarion" not in text(recognizer.stream(phrases=NAMES[:1]), door)
    assert "belgarion" in text(recognizer.stream(phrases=NAMES), door)


def test_streams_side_by_side_do_not_hear_each_others_names(recognizer, train):
    alone = text(recognizer.stream(), train)
    plain, biased = recognizer.stream(), recognizer.stream(phrases=NAMES)
    said = {plain: "", biased: ""}
    for samples in [*np.array_split(train, 20), None]:
        for stream in said:
            events = stream.flush() if samples is None else stream.push(samples, 16_000)
            said[stream] += "".join(e.segment.text for e in events if isinstance(e, Final))
    assert said[plain] == alone
    assert "mildenhurst" in said[biased]


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_restored_stream_goes_on_with_its_phrases(recognizer, train, door, share):
    samples = np.concatenate([train, np.zeros(24_000, np.float32), door])
    cut = int(share * len(samples))
    whole = recognizer.stream(phrases=NAMES)
    uninterrupted = whole.push(samples[:cut], 16_000)
    uninterrupted += [*whole.push(samples[cut:], 16_000), *whole.flush()]
    stream = recognizer.stream(phrases=NAMES)
    heard = stream.push(samples[:cut], 16_000)
    stream = recognizer.restore(stream.snapshot())
    heard += [*stream.push(samples[cut:], 16_000), *stream.flush()]
    assert heard == uninterrupted
    assert {"mildenhurst", "belgarion"} <= set(finals(heard).split())


def test_an_hour_leaves_memory_as_it_was():
    """With phrases and with a grammar; in a process of its own, as its heap is measured."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=without_huge_pages) as pool:
        assert max(pool.submit(growth_in_an_hour).result()) < 5


def growth_in_an_hour() -> list[float]:
    """MB that an hour of one speaker's sounds adds after the first minute, for each task."""
    spoken = utterances("dev", 12, "librispeech")
    samples = np.concatenate([utterance.samples for utterance in spoken])
    loaded = asr.load(ROOT / "models" / "en-small")
    log_probs, _ = loaded.acoustic.step(samples[None, : len(samples) // 640 * 640])
    grammar = loaded.word_list([utterance.text for utterance in spoken])
    growth = []
    words = Phrase(" ".join(spoken[0].text.split()[:3]))
    for task in (loaded.task(None, NAMES, 1), loaded.task(grammar, [words], 1)):
        stage, state = Segmenter(task, Endpointer(EndpointRules(), 0.04)), None
        for second in range(3600):
            begin = 25 * second % (log_probs.shape[1] - 25)
            _, state = stage.step(log_probs[0, begin : begin + 25], state)
            if second == 60:
                after_a_minute = resident()
        growth.append(resident() - after_a_minute)
    return growth


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_thousand_phrases_take_little_memory(recognizer):
    graph = recognizer.search.graph
    words = [graph.vocabulary[label][0] for label in range(20_000, 22_000)]
    phrases = [Phrase(f"{a} {b}") for a, b in zip(words[::2], words[1::2], strict=True)]
    kept = [with_phrases(graph, phrases)]
    before = resident()
    kept += [with_phrases(graph, phrases) for _ in range(5)]
    assert (resident() - before) / 5 < 4
