"""Features and targets of a split, computed once and read from one flat file.

A store is a folder of four arrays: `features.npy` [frames, MELS] float16 of all utterances one
after the other, `tokens.npy` of their phones, `offsets.npy` [utterances + 1, 2] with where each
begins in the two, and `ids.txt`.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr
import torch
from lhotse import CutSet, MonoCut
from rich.progress import track
from torch import Tensor

from asr.audio import read
from asr.decoding.lexicon import IDS, TOKENS, Lexicon
from asr.errors import AudioError, TrainingError
from asr.nn.frontend import HOP, MELS, RATE, Frontend
from asr.nn.model import FRAME
from asr.training.augment import Floats
from asr.training.codecs import Codec, any_codec, coded
from asr.training.rooms import in_room, responses

OTHERS = "others"
"""Stands for the sources that are not named."""
UNREADABLE = 0.1
"""Share of a manifest's recordings that may be unreadable; more mean a folder that is missing."""
IN_ROOM = "@room"
"""What the id of an utterance ends with that is there once more, in a room."""
CODED = "@codec"
"""What it ends with that is there once more, through a codec."""
ROOMS = 250
"""Simulated rooms, fewer where fewer utterances are in one."""


@dataclass(frozen=True)
class FeatureStore:
    """The utterances of a split at one or several speeds.

    Attributes:
        ids: of the cuts, with `@speed` where it is not 1, `IN_ROOM` where they are in a room, and
            `CODED` where they went through a codec.
        features: [frames, MELS] float16, a memory map.
        tokens: [tokens] uint8.
        offsets: [utterances + 1, 2] where each utterance begins in features and tokens.
        times: [utterances], how often an epoch has each.
    """

    ids: list[str]
    features: npt.NDArray[np.float16]
    tokens: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    times: npt.NDArray[np.float64]

    @classmethod
    def open(cls, folder: Path) -> FeatureStore:
        """Map a store that `build` wrote."""
        ids = (folder / "ids.txt").read_text(encoding="utf-8").split("\n")
        return cls(
            ids,
            np.load(folder / "features.npy", mmap_mode="r"),
            np.load(folder / "tokens.npy"),
            np.load(folder / "offsets.npy"),
            np.ones(len(ids)),
        )

    def shared(self, manifest: Path, shares: Mapping[str, float]) -> FeatureStore:
        """The same, but with `times` as `TrainConfig.shares` has them.

        Raises:
            TrainingError: when a source has a share that is not in the manifest.
        """
        if not shares:
            return self
        sources = {
            cut.id: cut.supervisions[0].custom["source"] for cut in CutSet.from_file(manifest)
        }
        if unknown := shares.keys() - {OTHERS, *sources.values()}:
            raise TrainingError(f"{manifest} has no source {', '.join(sorted(unknown))}")
        others = shares.get(OTHERS, 1.0)
        of = [sources[name.partition("@")[0]] for name in self.ids]
        return replace(self, times=np.array([shares.get(source, others) for source in of]))

    @property
    def frames(self) -> npt.NDArray[np.int64]:
        """Feature frames of each utterance, [utterances]."""
        return np.diff(self.offsets[:, 0])

    @property
    def targets(self) -> tuple[Tensor, Tensor]:
        """Phones of all utterances, one after the other, and how many each has."""
        return torch.from_numpy(self.tokens).long(), torch.from_numpy(np.diff(self.offsets[:, 1]))

    def statistics(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Mean and standard deviation of every mel bin, [MELS] each, over the whole store."""
        count = len(self.features)
        total, squares = np.zeros(MELS), np.zeros(MELS)
        for begin in range(0, count, 1 << 18):
            block = self.features[begin : begin + (1 << 18)].astype(np.float64)
            total += block.sum(0)
            squares += np.square(block).sum(0)
        mean = total / count
        return mean.astype(np.float32), np.sqrt(squares / count - mean**2).astype(np.float32)


def feature_store(
    manifest: Path, speeds: Sequence[float], cache: Path, rooms: float = 0.0, codecs: float = 0.0
) -> FeatureStore:
    """The store of a manifest at these speeds, from `cache` or computed into it.

    Args:
        manifest: a lhotse CutSet that `asr prepare` wrote.
        speeds: factors of speed perturbation (Ko et al. 2015); 1.0 is the recording itself.
        cache: folder of stores.
        rooms: share of the utterances that are there once more as they were recorded, in a
            simulated room.
        codecs: share of those that are there once more, through a codec.

    Raises:
        TrainingError: when the manifest is missing, none of it can be used, more than
            `UNREADABLE` of its recordings cannot be read, or a codec is missing.
    """
    if not manifest.is_file():
        raise TrainingError(f"{manifest} is missing; `asr prepare` makes it from a corpus")
    what: list[object] = [list(speeds), HOP, MELS, TOKENS]
    what += [rooms, ROOMS] if rooms else []
    what += ["codecs", codecs] if codecs else []
    version = json.dumps(what).encode()
    key = hashlib.sha256(manifest.read_bytes() + version).hexdigest()[:12]
    folder = cache / f"{manifest.name.partition('.')[0]}-{key}"
    if not folder.is_dir():
        partial_folder = cache / f"{folder.name}.{os.getpid()}"
        partial_folder.mkdir(parents=True)
        try:
            _build(manifest, speeds, rooms, codecs, partial_folder)
            partial_folder.rename(folder)
        finally:
            shutil.rmtree(partial_folder, ignore_errors=True)
    return FeatureStore.open(folder)


def _build(
    manifest: Path, speeds: Sequence[float], rooms: float, codecs: float, folder: Path
) -> None:
    """Compute a store; what cannot be used is listed in `skipped.txt` and counted on the way."""
    cuts = list(CutSet.from_file(manifest))
    words = {word for cut in cuts for word in cut.supervisions[0].text.split()}
    lexicon = Lexicon.pronounce(sorted(words))
    seed = zlib.crc32(manifest.name.encode())  # so that dev has other rooms
    heard_through = _codecs(len(cuts), codecs, seed)
    work = zip(cuts, _rooms(len(cuts), rooms, seed), heard_through, strict=True)
    ids: list[str] = []
    tokens: list[npt.NDArray[np.uint8]] = []
    ends = [(0, 0)]
    skipped: list[str] = []
    unreadable: list[str] = []
    raw = folder / "features.f16"
    with raw.open("wb") as file, multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        done = pool.imap(partial(_utterance, speeds=tuple(speeds)), work, chunksize=16)
        for cut, versions in track(zip(cuts, done, strict=True), "features", total=len(cuts)):
            if isinstance(versions, str):
                unreadable.append(f"{cut.id}\t{versions}")
                continue
            phones = phone_ids(cut.supervisions[0].text, lexicon)
            for suffix, features in versions.items():
                needed = len(phones) + int(np.sum(phones[1:] == phones[:-1]))
                if not 0 < needed <= len(features) * HOP // FRAME:
                    skipped.append(f"{cut.id}\t{needed} phones in {len(features)} frames")
                    continue
                features.tofile(file)
                ids.append(cut.id + suffix)
                tokens.append(phones)
                ends.append((ends[-1][0] + len(features), ends[-1][1] + len(phones)))
    if len(unreadable) > UNREADABLE * len(cuts):
        raise TrainingError(
            f"{len(unreadable)} of the {len(cuts)} recordings of {manifest} cannot be read, the "
            f"first: {unreadable[0]}"
        )
    skipped += unreadable
    (folder / "skipped.txt").write_text("\n".join(skipped), encoding="utf-8")
    if not ids:
        raise TrainingError(f"no utterance of {manifest} can be used; the first: {skipped[:1]}")
    if skipped:
        print(f"{len(skipped)} of {len(ids) + len(skipped)} left out, listed in skipped.txt")
    flat = np.memmap(raw, np.float16, "r", shape=(ends[-1][0], MELS))
    np.save(folder / "features.npy", flat)
    raw.unlink()
    np.save(folder / "tokens.npy", np.concatenate(tokens))
    np.save(folder / "offsets.npy", np.array(ends, np.int64))
    (folder / "ids.txt").write_text("\n".join(ids), encoding="utf-8")


def _rooms(count: int, share: float, seed: int) -> list[Floats | None]:
    """The response of a room for a share of so many utterances."""
    rng = np.random.default_rng(seed)
    chosen = rng.random(count) < share
    bank = list(islice(responses(seed), min(ROOMS, int(chosen.sum()))))
    return [bank[rng.integers(len(bank))] if in_one else None for in_one in chosen]


def _codecs(count: int, share: float, seed: int) -> list[Codec | None]:
    """A codec for a share of so many utterances."""
    rng = np.random.default_rng([seed, 1])
    return [any_codec(rng) if rng.random() < share else None for _ in range(count)]


def phone_ids(text: str, lexicon: Lexicon) -> npt.NDArray[np.uint8]:
    """Token ids of a sentence in the first pronunciation of each word."""
    spoken = [lexicon[word][0] for word in text.split() if word in lexicon]
    return np.array([IDS[phone] for phones in spoken for phone in phones], np.uint8)


_frontend: Frontend | None = None


def _utterance(
    work: tuple[MonoCut, Floats | None, Codec | None], speeds: tuple[float, ...]
) -> dict[str, npt.NDArray[np.float16]] | str:
    """Features [frames, MELS] of a cut, by what its id then ends with, or why there are none."""
    global _frontend
    cut, room, codec = work
    if _frontend is None:
        torch.set_num_threads(1)
        _frontend = Frontend()
    try:
        audio = np.concatenate(list(read(Path(cut.recording.sources[0].source), RATE)))
    except AudioError as error:
        return str(error)
    heard = {}
    for speed in speeds:
        if speed == 1:
            heard[""] = audio
        else:
            heard[f"@{speed}"] = soxr.resample(audio, round(RATE * speed), RATE)
    if room is not None:
        heard[IN_ROOM] = in_room(audio, room)
    if codec is not None:
        heard[CODED] = coded(audio, codec)
    return {suffix: extract(_frontend, samples) for suffix, samples in heard.items()}


def extract(frontend: Frontend, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Features of a whole utterance as a stream computes them, up to a pure silence behind it.

    Args:
        frontend: what computes them.
        samples: [S] in [-1, 1].

    Returns:
        [4 (ceil(S / FRAME) + 1), MELS]
    """
    length = (-(-len(samples) // FRAME) + 1) * FRAME
    padded = np.zeros((1, length), np.float32)
    padded[0, : len(samples)] = samples
    with torch.inference_mode():
        features, _ = frontend.step(torch.from_numpy(padded), frontend.start(1))
    return features[0].numpy().astype(np.float16)
