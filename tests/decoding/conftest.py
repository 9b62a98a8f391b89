"""Graphs are unpacked into a cache of their own; token passing has two implementations."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from asr.decoding import passing
from asr.decoding.graph import Graph
from tests.decoding.world import loaded, small_graph


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rill"


@pytest.fixture(scope="session")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    folder = tmp_path_factory.mktemp("graph")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        return loaded(small_graph(), folder / "small.graph").mapped()  # for numpy as well


@pytest.fixture(scope="module", params=["compiled", "numpy"])
def implementation(request: pytest.FixtureRequest) -> Iterator[None]:
    if not passing.COMPILED and request.param == "compiled":
        pytest.skip("asr.decoding._passing is not there: it needs a C compiler when installing")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passing, "COMPILED", request.param == "compiled")
        yield
