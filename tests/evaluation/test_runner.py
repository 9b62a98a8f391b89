"""One utterance, heard as the conditions say."""

from pathlib import Path

import pytest

from asr.cli.recognizers import model_folder
from asr.evaluation.alignment import pronunciations
from asr.evaluation.runner import Conditions, Failure, Outcome, Worker
from asr.evaluation.utterances import Utterance
from tests.cli.command import SAID, sentence
from tests.models import export_tiny
from tests.sound import record

MODEL = model_folder(None)


@pytest.fixture(scope="module")
def utterance(tmp_path_factory: pytest.TempPathFactory) -> Utterance:
    path = record(tmp_path_factory.mktemp("set") / "sun.flac", sentence(0))
    return Utterance("sun", SAID[0], "ann", "books", str(path))


def heard(utterance: Utterance, aligner: Path) -> Outcome | Failure:
    conditions = Conditions(MODEL, "dictation", aligner, 0.16)
    return Worker(conditions, pronunciations(SAID)).run(utterance, None)


def test_another_model_can_say_where_the_words_are(utterance: Utterance, tmp_path: Path) -> None:
    itself = heard(utterance, MODEL)
    other = heard(utterance, export_tiny(tmp_path / "tiny"))
    assert isinstance(itself, Outcome) and isinstance(other, Outcome)
    assert itself.hearing == other.hearing and itself.score == other.score
    assert itself.spans and other.spans and len(itself.spans) == len(other.spans)
    assert itself.spans != other.spans
    assert max(map(abs, itself.timing.starts)) < 0.1 < max(map(abs, other.timing.starts))


def test_what_cannot_be_read_is_a_failure_with_its_reason(utterance: Utterance) -> None:
    lost = Utterance("lost", "lost", "ann", "books", str(Path(utterance.path).with_name("lost")))
    result = heard(lost, MODEL)
    assert isinstance(result, Failure) and "lost: No such file" in result.reason
