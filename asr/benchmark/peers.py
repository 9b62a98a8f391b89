"""The recognisers beside which Rill is measured."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from asr.errors import AsrError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from asr.bundle import Bundle

NEEDS = {
    "sherpa-onnx": {
        "sherpa_onnx": "sherpa-onnx",
        "torch": "rill-asr[export]",
        "onnx": "rill-asr[export]",
    },
    "pocketsphinx": {"pocketsphinx": "pocketsphinx"},
}
"""Of each peer the modules, and what to install for them."""


def check(names: Sequence[str]) -> None:
    """That all peers are installed.

    Raises:
        AsrError: which is not, and how to install it.
    """
    lacking = {
        module: package
        for name in names
        for module, package in NEEDS[name].items()
        if find_spec(module) is None
    }
    if lacking:
        packages = " ".join(f"'{package}'" for package in dict.fromkeys(lacking.values()))
        raise AsrError(
            f"{', '.join(names)} beside Rill needs {', '.join(lacking)}: install it with "
            f"pip install {packages}"
        )


def options(
    name: str, bundle: Bundle, precision: str, graph: str | None, folder: Path
) -> dict[str, Any]:
    """What `worker.py` needs to know of a peer; what it needs to have is written to `folder`."""
    if name == "pocketsphinx":
        return {"system": name}
    from asr.decoding.search import SearchOptions
    from asr.export.sherpa import FILES, GRAPH, export, padding
    from asr.export.source import Source

    source = Source.open(bundle.path)
    search = bundle.settings.search
    twin = folder / "twin"
    export(
        source.model,
        source.tokens,
        twin,
        graph=None if graph is None else bundle.graph(graph),
        search=search,
        int8=precision == "int8",
    )
    return {
        "system": name,
        "model": str(twin),
        "file": FILES[precision],
        "graph": GRAPH if graph else "",
        "padding": padding(source.model),
        "most": 2 * SearchOptions(**search).max_active,  # it counts blanks and phones apart
    }
