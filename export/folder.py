"""A model folder, written whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.acoustic import AcousticModel
from asr.bundle import CONFIG, TOKENS, Bundle, Settings, describe
from asr.decoding.language import LanguageModel
from asr.errors import ExportError, ModelError
from asr.nn.frontend import RATE
from asr.nn.model import END, FRAME

from .gate import Gate, measure
from .graph import build
from .ort import OPERATORS, convert, write_operators
from .verify import verify

if TYPE_CHECKING:
    from asr.nn.model import CtcModel

MODELS = {"fp32": "model", "int8": "model.int8"}
"""File of each precision, without its suffix."""
CARD = "README.md"
LANGUAGE_MODEL = "language.onnx"


@dataclass(frozen=True)
class Report:
    """What was found out about an exported model.

    Attributes:
        difference: the largest of a log-probability from torch's, in nats.
        gate: what 8-bit integers cost; None if there are none, or no speech was given.
    """

    difference: float
    gate: Gate | None


def export(
    model: CtcModel,
    tokens: tuple[str, ...],
    target: Path,
    *,
    head: str = "phones",
    graphs: dict[str, Path] | None = None,
    language_model: Path | None = None,
    card: Path | None = None,
    int8: bool = True,
    ort: bool = False,
    dev: Path | None = None,
    **facts: Any,
) -> Report:
    """Export a model, verify it, and write its folder.

    Args:
        model: the trained model.
        tokens: name of each token of the head.
        target: the folder; one that holds a Rill model already is replaced.
        head: the CTC head to export.
        graphs: search graphs to ship with it, by name.
        language_model: what decides between the hypotheses of the search, to ship with it.
        card: the model card; without one the card of the folder that is replaced stays, if any.
        int8: write the model in 8-bit integers as well.
        ort: write the models in the ORT format, with the list of operators that they need.
        dev: manifest of speech on which the two are compared; it needs the graph `dictation`.
        **facts: further fields of `asr.bundle.Settings`: version, language, license, data,
            search, endpoint.

    Raises:
        ExportError: when the graph differs from torch, 8-bit integers make too many errors, a file
            to ship is missing, or `target` is something else than a model folder.
    """
    shipped = {f"{name}.graph": path for name, path in (graphs or {}).items()}
    if language_model:
        LanguageModel(language_model)
        shipped[LANGUAGE_MODEL] = language_model
    _check(target, [*shipped.values(), *([card] if card else [])])
    if len(tokens) != model.encoder.config.heads.get(head):
        raise ExportError(f"{len(tokens)} tokens do not fit head {head!r} of the model")
    if dev and not (int8 and "dictation" in (graphs or {})):
        raise ExportError("the gate compares int8 through the graph `dictation`: export both")
    properties = {"name": target.name, **{key: facts[key] for key in ("version", "license")}}
    models, differences = {}, {}
    for precision in MODELS if int8 else ("fp32",):
        content = build(model, head, properties, precision).SerializeToString()
        models[precision] = convert(content) if ort else content
        differences[precision] = verify(models[precision], model, head, precision)
    files = {precision: MODELS[precision] + (".ort" if ort else ".onnx") for precision in models}
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
        folder = Path(temporary) / target.name
        folder.mkdir()
        for precision, content in models.items():
            (folder / files[precision]).write_bytes(content)
        if ort:
            write_operators([folder / name for name in files.values()], folder / OPERATORS)
        (folder / TOKENS).write_text(token_lines(tokens), encoding="utf-8")
        for name, path in shipped.items():
            shutil.copyfile(path, folder / name)
        if (kept := card or target / CARD).is_file():
            shutil.copyfile(kept, folder / CARD)
        settings = Settings(
            name=target.name,
            sample_rate=RATE,
            frame=FRAME,
            delay=model.encoder.config.lookahead,
            tail=END,
            model=files["fp32"],
            int8=files.get("int8"),
            states={name: list(shape) for name, shape in model.state_shapes.items()},
            files={name: describe(folder / name) for name in (*files.values(), TOKENS, *shipped)},
            graphs={name: f"{name}.graph" for name in graphs or {}},
            language_model=LANGUAGE_MODEL if language_model else None,
            **facts,
        )
        (folder / CONFIG).write_text(settings.to_json(), encoding="utf-8")
        for precision in models:
            AcousticModel(Bundle.open(folder), precision=precision)
        gate = measure(folder, dev) if dev else None
        if gate:
            gate.check()
        if target.exists():
            target.rename(Path(temporary) / "replaced")
        folder.rename(target)
    return Report(differences["fp32"], gate)


def token_lines(tokens: tuple[str, ...]) -> str:
    """The text of `tokens.txt`."""
    return "".join(f"{token} {number}\n" for number, token in enumerate(tokens))


def _check(target: Path, files: list[Path]) -> None:
    """That the target may be written and the files to ship are there."""
    if target.exists():
        try:
            Settings.read(target / CONFIG)
        except ModelError as error:
            raise ExportError(
                f"{target} is there and no model folder that may be replaced: {error}"
            ) from None
    for path in files:
        if not path.is_file():
            raise ExportError(f"there is no file {path} to ship with the model")
