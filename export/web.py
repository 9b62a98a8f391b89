"""A static folder: a page that turns speech into text in the browser, on the user's own device.

The page and its scripts lie in web/, beside this file. They run the model on onnxruntime-web, which
comes from npm, and search in the same graph as `asr.decoding`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np

from asr.acoustic import AcousticModel
from asr.bundle import Bundle
from asr.decoding.fst import ARC, Fst
from asr.decoding.lexicon import TOKENS
from asr.decoding.phone_graph import PhoneGraph, broken_off
from asr.decoding.search import SearchOptions
from asr.endpoint import EndpointRules
from asr.errors import ExportError, UsageError

PAGE = Path(__file__).parent / "web"
PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
SCRIPT, WASM = "dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm"
"""What the page needs of the package: the build without WebGPU."""
COMPRESSION = 6
"""Of gzip; 9 takes eight times as long for 3 % of the graph."""
RUNTIME = "onnxruntime"
"""Folder of it beside the page. Its script becomes `.js`: some servers do not know `.mjs`."""
LICENCES = ("LICENSE", "ThirdPartyNotices.txt")
"""Not in the npm package; those of onnxruntime's Python package, made of the same sources."""
MARK = "settings.json"


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        precision: of the model.
        download: bytes that a browser loads the first time.
    """

    precision: str
    download: int


def export(source: Path, target: Path, *, runtime: Path | None = None) -> Report:
    """Write the static folder, after a check that what goes into it fits together.

    Args:
        source: a model folder that has the graph `dictation`.
        target: the folder to write; one that this wrote before is replaced.
        runtime: folder of the unpacked npm package; None to get it with npm.

    Raises:
        ModelError: when the model folder does not fit together.
        GraphError: when its graph is damaged.
        ExportError: when onnxruntime-web cannot be had, or `target` is something else.
    """
    if target.exists() and not (target / MARK).is_file():
        raise ExportError(f"{target} is there and no exported page that may be replaced")
    bundle = Bundle.open(source)
    acoustic = AcousticModel(bundle)
    if bundle.tokens != TOKENS:
        raise ExportError(f"the page decodes phones, and {source} has other tokens")
    graph = PhoneGraph.load(bundle.graph("dictation"))
    settings = _settings(bundle, graph)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
        folder = Path(temporary) / target.name
        shutil.copytree(PAGE, folder)
        (folder / RUNTIME).mkdir()
        script, wasm = _runtime(runtime, Path(temporary))
        (folder / RUNTIME / Path(SCRIPT).with_suffix(".js").name).write_bytes(script)
        for name in LICENCES:
            shutil.copyfile(_licence(name), folder / RUNTIME / name)
        model = bundle.settings.int8 if acoustic.precision == "int8" else bundle.settings.model
        files = {
            "runtime": _packed(wasm, folder, f"{RUNTIME}/{Path(WASM).name}.gz"),
            "model": _packed(bundle.file(model or "").read_bytes(), folder, f"{model}.gz"),
            "graph": _packed(columns(graph), folder, "dictation.bin.gz"),
        }
        (folder / MARK).write_text(
            json.dumps({**settings, "files": files}, indent=1), encoding="utf-8"
        )
        download = sum(
            path.stat().st_size
            for path in folder.rglob("*")
            if path.is_file() and path.name not in LICENCES
        )
        if target.exists():
            target.rename(Path(temporary) / "replaced")
        folder.rename(target)
    return Report(acoustic.precision, download)


def columns(graph: PhoneGraph) -> bytes:
    """The arrays of a graph one after the other, those of large elements first.

    One more arc, the last, leads to the start from nowhere.
    """
    fst = graph.fst
    fst = Fst.of(fst.start, fst.states["final"], fst.sources, fst.arcs)  # arcs by their labels
    states, arcs = fst.states, np.append(fst.arcs, np.zeros(1, ARC))
    arcs["next"][-1] = fst.start
    if states["arcs"].max() > np.iinfo("<u2").max:
        raise ExportError(
            f"a state of the graph has {states['arcs'].max()} arcs, the page reads 65535"
        )
    arrays: tuple[np.ndarray[Any, Any], ...] = (
        arcs["next"].astype("<u4"),
        arcs["olabel"].astype("<u4"),
        arcs["weight"].astype("<f4"),
        broken_off(states["final"]).astype("<f4"),
        states["arcs"].astype("<u2"),
        states["iepsilons"].astype("u1"),
        arcs["ilabel"].astype("u1"),
        graph.vocabulary.text[:],
    )
    return b"".join(array.tobytes() for array in arrays)


def _settings(bundle: Bundle, graph: PhoneGraph) -> dict[str, Any]:
    """What the scripts have to know, as they name it."""
    known = bundle.settings
    facts = (
        "name", "version", "license", "sample_rate", "frame", "delay", "tail", "states",
    )  # fmt: skip
    try:
        options = SearchOptions(**known.search)
        rules = EndpointRules(**known.endpoint)
    except (TypeError, UsageError) as error:
        raise ExportError(f"{bundle.path} has wrong settings: {error}") from None
    return {
        **{name: getattr(known, name) for name in facts},
        "tokens": bundle.tokens,
        "search": {
            "beam": options.beam,
            "max_active": options.max_active,
            "acoustic_scale": options.acoustic_scale,
            "offsets": options.offsets.tolist(),
        },
        "endpoint": {
            name: seconds if math.isfinite(seconds) else None
            for name, seconds in asdict(rules).items()
        },
        "graph": {
            "start": graph.fst.start,
            "states": len(graph.fst.states),
            "arcs": len(graph.fst.arcs),
        },
    }


def _packed(content: bytes, folder: Path, name: str) -> tuple[str, int, str]:
    """Write a file with gzip; its name, size and the beginning of its SHA-256."""
    packed = gzip.compress(content, COMPRESSION, mtime=0)
    (folder / name).write_bytes(packed)
    return name, len(packed), hashlib.sha256(packed).hexdigest()[:16]


def _licence(name: str) -> Path:
    return Path(str(distribution("onnxruntime").locate_file(f"onnxruntime/{name}")))


def _runtime(folder: Path | None, scratch: Path) -> tuple[bytes, bytes]:
    """SCRIPT and WASM of onnxruntime-web, from its unpacked package or from npm."""
    try:
        if folder:
            contents = [(folder / name).read_bytes() for name in ("package.json", SCRIPT, WASM)]
        else:
            with tarfile.open(_downloaded(scratch)) as archive:
                contents = [
                    archive.extractfile(f"package/{name}").read()  # type: ignore[union-attr]
                    for name in ("package.json", SCRIPT, WASM)
                ]
        package = json.loads(contents[0])
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        raise ExportError(
            f"{folder or 'what npm gave'} is not the package {PACKAGE}, or damaged: {error}"
        ) from None
    if (package.get("name"), package.get("version")) != (PACKAGE, VERSION):
        raise ExportError(
            f"{folder} is {package.get('name')} {package.get('version')}, the page is made for "
            f"{PACKAGE} {VERSION}"
        )
    return contents[1], contents[2]


def _downloaded(folder: Path) -> Path:
    """The package from npm, which checks its digest."""
    mend = (
        f"or unpack the npm package {PACKAGE} {VERSION} yourself and name its folder with "
        "--onnxruntime-web"
    )
    command = ["npm", "pack", f"{PACKAGE}@{VERSION}", "--prefer-offline", "--loglevel=error"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ExportError(
            f"npm is missing, to get {PACKAGE} with; install it (Debian: package npm), {mend}"
        ) from None
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise ExportError(f"npm could not get {PACKAGE} {VERSION}: {reason}; try again, {mend}")
    return folder / done.stdout.strip().splitlines()[-1]
