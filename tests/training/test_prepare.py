"""Corpora in their published layouts, with everything in them that can be wrong."""

# ruff: noqa: RUF001 (texts as they are published)
import csv
import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from lhotse import CutSet

from asr.errors import TrainingError
from asr.nn.encoder import EncoderConfig
from asr.training.config import TrainConfig
from asr.training.prepare import (
    Prepared,
    prepare_commonvoice,
    prepare_librispeech,
    prepare_manifest,
    prepare_shards,
)
from asr.training.trainer import Trainer
from asr.training.transcripts import normalise, outside
from tests.sound import record, tone


def by_name(splits: Iterable[Prepared]) -> dict[str, Prepared]:
    return {split.manifest.name.removesuffix(".jsonl.gz"): split for split in splits}


def skipped(folder: Path) -> dict[str, str]:
    """Reason by id, as listed."""
    with (folder / "skipped.tsv").open(encoding="utf-8", newline="") as file:
        return {row["id"]: row["reason"] for row in csv.DictReader(file, delimiter="\t")}


def texts(split: Prepared) -> dict[str, str]:
    return {cut.id: cut.supervisions[0].text for cut in CutSet.from_file(split.manifest)}


def cut_off(path: Path) -> None:
    """Leave half of a recording of noise, whose header still promises all of it."""
    record(path, np.random.default_rng(0).normal(0, 0.01, 80_000))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture
def librispeech(tmp_path) -> Path:
    """A subset that is all right, and one with everything that can be wrong."""
    root = tmp_path / "LibriSpeech"
    good, bad = root / "train-clean-5" / "3" / "4", root / "dev-clean-2" / "7" / "8"
    for chapter, lines in (
        (good, ["IT'S FINE", "SO IT IS"]),
        (
            bad,
            [
                "GOOD MORNING",
                "",
                "IN 1850",
                "NO SUCH FILE",
                "AN EMPTY FILE",
                "NOT AUDIO",
                "CUT OFF",
                "ONLY SILENCE",
                "FAR TOO MANY WORDS " * 5,
            ],
        ),
    ):
        chapter.mkdir(parents=True)
        name = "-".join(chapter.parts[-2:])
        transcripts = [f"{name}-{number:04} {text}\n" for number, text in enumerate(lines)]
        (chapter / f"{name}.trans.txt").write_text("".join(transcripts))
        for number in range(len(lines)):
            record(chapter / f"{name}-{number:04}.flac", tone(1.5))
    with (bad / "7-8.trans.txt").open("a") as file:
        file.write("7-8-0000 GOOD MORNING AGAIN\n")
    (bad / "7-8-0003.flac").unlink()
    (bad / "7-8-0004.flac").write_bytes(b"")
    (bad / "7-8-0005.flac").write_bytes(b"not audio" * 99)
    cut_off(bad / "7-8-0006.flac")
    record(bad / "7-8-0007.flac", np.zeros(16_000))
    record(bad / "7-8-0009.flac", tone(1))
    return root


def test_librispeech_is_read_and_what_is_wrong_in_it_listed(librispeech, tmp_path):
    found = by_name(prepare_librispeech(librispeech, tmp_path / "data"))
    train, dev = found["train-clean-5"], found["dev-clean-2"]
    assert texts(train) == {"3-4-0000": "it's fine", "3-4-0001": "so it is"}
    assert (train.utterances, train.hours * 3600) == (2, pytest.approx(3)) and not train.skipped
    assert texts(dev) == {"7-8-0000": "good morning"}
    assert skipped(tmp_path / "data") == {
        "7-8-0000": "duplicate id",
        "7-8-0001": "no transcript",
        "7-8-0002": "text outside the alphabet",
        "7-8-0003": "no audio",
        "7-8-0004": "unreadable audio",
        "7-8-0005": "unreadable audio",
        "7-8-0006": "damaged audio",
        "7-8-0007": "silent audio",
        "7-8-0008": "transcript too long for its audio",
        "7-8-0009": "no transcript",
    }
    assert dev.skipped["unreadable audio"] == 2 and dev.skipped.total() == 10
    (cut,) = CutSet.from_file(dev.manifest)
    assert (cut.supervisions[0].speaker, cut.sampling_rate) == ("7", 16_000)
    assert cut.load_audio().shape == (1, 24_000)


def test_the_list_of_what_was_skipped_is_that_of_the_last_time(librispeech, tmp_path):
    """Preparing a subset again replaces its rows, and leaves those of others."""
    for _ in range(2):
        list(prepare_librispeech(librispeech.parent, tmp_path / "data", ["dev-clean-2"]))
    list(prepare_librispeech(librispeech, tmp_path / "data", ["train-clean-5"]))
    assert len((tmp_path / "data" / "skipped.tsv").read_text().splitlines()) == 1 + 10


def test_a_subset_that_is_not_there_is_named(librispeech, tmp_path):
    with pytest.raises(TrainingError, match=r"no folder test-clean; .* dev-clean-2, train-clean-5"):
        prepare_librispeech(librispeech, tmp_path / "data", ["test-clean"])
    with pytest.raises(TrainingError, match="neither clips/ nor en/clips/"):
        prepare_commonvoice(librispeech, tmp_path / "data")
    (tmp_path / "en" / "clips").mkdir(parents=True)
    (tmp_path / "en" / "other.tsv").touch()
    with pytest.raises(TrainingError, match=r"no dev\.tsv nor test\.tsv nor train\.tsv; .*: other"):
        prepare_commonvoice(tmp_path, tmp_path / "data")


def test_common_voice_is_read_as_it_is_published(tmp_path):
    clips = tmp_path / "cv" / "en" / "clips"
    clips.mkdir(parents=True)
    rows = {
        "train": [
            ('"Don’t," said Zoë — “twice”.', "common_voice_en_1.mp3"),
            ('An unbalanced " quote', "common_voice_en_2.mp3"),
            ("Добрый день", "common_voice_en_3.mp3"),
            ("Not there", "common_voice_en_4.mp3"),
            ("Only a header", "common_voice_en_5.mp3"),
        ],
        "dev": [("A clip.", "common_voice_en_6.mp3"), (None, "common_voice_en_7.mp3")],
        "other": [("Not asked for.", "common_voice_en_8.mp3")],
    }
    for split, lines in rows.items():
        table = ["client_id\tpath\tsentence\tup_votes"]
        table += [f"c\t{path}" + (f"\t{text}\t2" if text else "") for text, path in lines]
        (clips.parent / f"{split}.tsv").write_text("\n".join(table) + "\n", encoding="utf-8")
    for number in (1, 2, 3, 5, 6, 7, 8):
        record(clips / f"common_voice_en_{number}.mp3", tone(1.5, 48_000), 48_000)
    (clips / "common_voice_en_5.mp3").write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x00")
    found = by_name(prepare_commonvoice(tmp_path / "cv", tmp_path / "data"))
    assert {name: texts(split) for name, split in found.items()} == {
        "train": {
            "common_voice_en_1": "don't said zoe twice",
            "common_voice_en_2": "an unbalanced quote",
        },
        "dev": {"common_voice_en_6": "a clip"},
    }
    assert skipped(tmp_path / "data") == {
        "common_voice_en_3": "text outside the alphabet",
        "common_voice_en_4": "no audio",
        "common_voice_en_5": "unreadable audio",
        "dev.tsv:3": "bad line",
    }
    cut = CutSet.from_file(found["dev"].manifest)[0]
    assert (cut.supervisions[0].speaker, cut.sampling_rate) == ("c", 48_000)
    assert cut.duration == pytest.approx(1.5, abs=0.1)
    assert cut.load_audio().shape == (1, cut.num_samples)


def test_anybodys_own_recordings_are_read(tmp_path):
    record(tmp_path / "a.wav", np.stack([tone(1), tone(1)], axis=1))
    record(tmp_path / "b.flac", tone(2))
    lines = [
        '{"audio": "a.wav", "text": "Hello", "speaker": "me", "id": "first"}',
        json.dumps({"audio": str(tmp_path / "b.flac"), "text": "Over there!"}),
        "",
        '{"audio": "a.wav"}',
        '{"audio": "a.wav", "text": ',
        '{"text": "of nothing"}',
        '{"audio": "a.wav", "text": 5}',
        '["a.wav", "text"]',
        '{"audio": "a.wav", "text": "two lines", "id": "two\\nlines"}',
        '{"audio": "a.wav", "text": "Hello again", "id": "first"}',
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(lines))
    (mine,) = prepare_manifest(path, tmp_path / "data")
    assert mine.manifest == tmp_path / "data" / "mine.jsonl.gz"
    assert texts(mine) == {"first": "hello", str(tmp_path / "b.flac"): "over there"}
    assert mine.skipped == {"bad line": 5, "no transcript": 1, "duplicate id": 1}
    assert skipped(tmp_path / "data")["mine.jsonl:4"] == "no transcript"
    assert [cut.supervisions[0].speaker for cut in CutSet.from_file(mine.manifest)] == ["me", None]


def test_shards_that_lack_a_clip_say_so(tmp_path):
    line = {"shard": "dev-00.tar", "text": "a tone", "speaker": "s", "source": "sine"}
    (tmp_path / "dev.jsonl").write_text(
        "\n".join(json.dumps({**line, "id": name}) for name in ("there", "lost"))
    )
    content = record(tmp_path / "clip.opus", tone(1, 48_000), 48_000).read_bytes()
    with tarfile.open(tmp_path / "dev-00.tar", "w") as archive:
        member = tarfile.TarInfo("there.opus")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    (dev,) = prepare_shards(tmp_path, tmp_path / "data")
    assert texts(dev) == {"there": "a tone"} and skipped(tmp_path / "data") == {"lost": "no audio"}
    (tmp_path / "dev-00.tar").unlink()
    with pytest.raises(TrainingError, match=r"cannot unpack .*dev-00\.tar"):
        list(prepare_shards(tmp_path, tmp_path / "data"))


def test_a_split_without_anything_is_an_error_that_counts(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text('{"audio": "a.wav", "text": "hello"}\n' * 2)
    with pytest.raises(TrainingError, match=r"train can be used: 1 \w.*, 1 \w.*skipped.tsv"):
        list(prepare_manifest(path, tmp_path / "data"))


def test_prepared_manifests_may_be_joined_and_trained_on(librispeech, tmp_path):
    record(tmp_path / "own.mp3", tone(2, 44_100), 44_100)
    (tmp_path / "own.jsonl").write_text('{"audio": "own.mp3", "text": "One more"}')
    data = tmp_path / "data"
    found = by_name(
        [*prepare_librispeech(librispeech, data), *prepare_manifest(tmp_path / "own.jsonl", data)]
    )
    both = data / "both.jsonl.gz"  # as `cat` does
    names = ("train-clean-5", "own")
    both.write_bytes(b"".join(found[name].manifest.read_bytes() for name in names))
    config = TrainConfig(
        train=both,
        dev=both,
        cache=data / "features",
        encoder=EncoderConfig(hidden=8, layers=1, channels=8, lookahead=1),
        speeds=(1.0,),
        epochs=1,
    )
    trainer = Trainer(config, tmp_path / "run")
    assert trainer.store.ids == ["3-4-0000", "3-4-0001", "own.mp3"]
    trainer.run()
    assert trainer.step == 1 and (tmp_path / "run" / "model.pt").is_file()


@pytest.mark.parametrize(
    ("published", "text"),
    [
        ("Don’t stop — now!", "don't stop now"),
        ("“Naïve façade,” said Łukasz Øre-Müller.", "naive facade said lukasz ore muller"),
        (
            "‘Twas the dog’s bone; 'quoted words', he said",
            "'twas the dog's bone quoted words he said",
        ),
        ("The U.S. Œuvre…and so on", "the u s oeuvre and so on"),
        ("rock 'n' roll", "rock n roll"),
        ("İstanbul straße", "istanbul strasse"),
        ("  '  ", ""),
    ],
)
def test_text_is_brought_into_the_alphabet(published, text):
    assert normalise(published) == text and outside(text) == ""


@pytest.mark.parametrize(
    ("published", "unknown"),
    [
        ("50% off", "%05"),
        ("AT&T", "&"),
        ("Привет, you", "веипрт"),
        ("[noise] yes", "[]"),
        ("½", "½"),
    ],
)
def test_what_is_outside_the_alphabet_stays_to_be_seen(published, unknown):
    assert outside(normalise(published)) == unknown
