"""A model folder, written whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.bundle import CONFIG, TOKENS, Bundle, Settings, describe
from asr.errors import ExportError, ModelError
from asr.nn.frontend import RATE
from asr.nn.model import END, FRAME

from .graph import build
from .verify import verify

if TYPE_CHECKING:
    from asr.nn.model import CtcModel

MODEL = "model.onnx"


def export(
    model: CtcModel,
    tokens: tuple[str, ...],
    target: Path,
    *,
    head: str = "phones",
    graphs: dict[str, Path] | None = None,
    card: Path | None = None,
    **facts: Any,
) -> float:
    """Export a model, verify it, and write its folder.

    Args:
        model: the trained model.
        tokens: name of each token of the head.
        target: the folder; one that holds a Rill model already is replaced.
        head: the CTC head to export.
        graphs: search graphs to ship with it, by name.
        card: the model card; without one the card of the folder that is replaced stays, if any.
        **facts: further fields of `asr.bundle.Settings`: version, language, license, data,
            search, endpoint.

    Returns:
        the largest difference between a log-probability of the graph and torch's.

    Raises:
        ExportError: when they differ, a file to ship is missing, or `target` is something else than
            a model folder.
    """
    if target.exists():
        try:
            Settings.read(target / CONFIG)
        except ModelError as error:
            raise ExportError(
                f"{target} is there and no model folder that may be replaced: {error}"
            ) from None
    for path in (*(graphs or {}).values(), *([card] if card else [])):
        if not path.is_file():
            raise ExportError(f"there is no file {path} to ship with the model")
    if len(tokens) != model.encoder.config.heads.get(head):
        raise ExportError(f"{len(tokens)} tokens do not fit head {head!r} of the model")
    properties = {"name": target.name, **{key: facts[key] for key in ("version", "license")}}
    content = build(model, head, properties)
    serialized = content.SerializeToString()
    worst = verify(serialized, model, head)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
        folder = Path(temporary) / target.name
        folder.mkdir()
        (folder / MODEL).write_bytes(serialized)
        lines = (f"{token} {number}\n" for number, token in enumerate(tokens))
        (folder / TOKENS).write_text("".join(lines), encoding="utf-8")
        shipped = {name: f"{name}.graph" for name in graphs or {}}
        for name, path in (graphs or {}).items():
            shutil.copyfile(path, folder / shipped[name])
        kept = card or target / "README.md"
        if kept.is_file():
            shutil.copyfile(kept, folder / "README.md")
        settings = Settings(
            name=target.name,
            sample_rate=RATE,
            frame=FRAME,
            delay=model.encoder.config.lookahead,
            tail=END,
            model=MODEL,
            states={name: list(shape) for name, shape in model.state_shapes.items()},
            files={name: describe(folder / name) for name in (MODEL, TOKENS, *shipped.values())},
            graphs=shipped,
            **facts,
        )
        (folder / CONFIG).write_text(settings.to_json(), encoding="utf-8")
        Bundle.open(folder)
        if target.exists():
            target.rename(Path(temporary) / "replaced")
        folder.rename(target)
    return worst
