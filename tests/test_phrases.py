"""Names that a user gives are heard by the model that ships, and cost next to nothing."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import asr
from asr.audio import read
from asr.decoding.phrases import Phrase, with_phrases
from asr.recognizer import Recognizer, Stream
from asr.results import Final
from tests.speech import ROOT

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
    events = [*stream.push(samples, 16_000), *stream.flush()]
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


def private(megabytes: float) -> float:
    """How much memory this process has for itself, above so many megabytes."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    sizes = [int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")]
    return sum(sizes) / 1024 - megabytes


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_thousand_phrases_take_little_memory(recognizer):
    graph = recognizer.search.graph
    words = [graph.vocabulary[label][0] for label in range(20_000, 22_000)]
    phrases = [Phrase(f"{a} {b}") for a, b in zip(words[::2], words[1::2], strict=True)]
    kept = [with_phrases(graph, phrases)]
    before = private(0)
    kept += [with_phrases(graph, phrases) for _ in range(5)]
    assert private(before) / 5 < 4
