"""Vectors in a file, read as they are indexed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from asr.decoding import stored
from asr.decoding.stored import Stored


@pytest.mark.parametrize("read_at", [stored.read_at, stored.seek_and_read])
def test_threads_read_one_file_at_once(
    read_at: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "read_at", read_at)
    rng = np.random.default_rng(1)
    vector = rng.integers(0, 1 << 32, 100_000, np.uint32)
    path = tmp_path / "vector"
    with path.open("wb") as file:
        Stored.write(file, vector)
    places = rng.integers(0, len(vector), (8, 500))
    with path.open("rb") as file, ThreadPoolExecutor(8) as pool:
        in_file = Stored.read(file)
        for wanted, found in zip(places, pool.map(in_file.__getitem__, places), strict=True):
            np.testing.assert_array_equal(found, vector[wanted])
        np.testing.assert_array_equal(in_file[10:2000], vector[10:2000])
