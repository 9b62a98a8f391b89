"""The model that a command works with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asr.errors import ModelError
from asr.recognizer import is_language_model

if TYPE_CHECKING:
    from asr.recognizer import Recognizer

Model = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        help="Model folder; if not given, the one that RILL_MODEL names, else models/en-small.",
    ),
]
NAME = Path("models", "en-small")


def model_folder(chosen: Path | None) -> Path:
    """The folder to load: the one chosen, that of the environment, or the one that ships.

    Raises:
        ModelError: when there is none.
    """
    if chosen is None and (named := os.environ.get("RILL_MODEL")):
        chosen = Path(named)
    if chosen is not None:
        return chosen
    places = [Path(__file__).parents[2] / NAME, Path.cwd() / NAME]
    for place in places:
        if place.is_dir():
            return place
    raise ModelError(
        f"there is no model at {' or '.join(map(str, places))}; "
        "name its folder with --model or in the environment as RILL_MODEL"
    )


def knowledge(lm: Path | None) -> dict[str, Any]:
    """What `asr.load` is told of the file that --lm names, if any."""
    if lm is None:
        return {}
    return {"language_model": lm} if is_language_model(lm) else {"graph": lm}


def load(model: Path | None, device: str = "cpu", lm: Path | None = None) -> Recognizer:
    """Load a model; on a terminal a bar shows its first unpacking.

    Args:
        model: its folder, if one was chosen.
        device: what it runs on.
        lm: file of a search graph or a language model that takes the place of the model's own.

    Raises:
        ModelError: when it is missing or damaged.
        DeviceError: when the device is not there.
    """
    import rich.console
    import rich.progress

    import asr

    folder = model_folder(model)
    console = rich.console.Console(stderr=True)
    options = knowledge(lm)
    if not console.is_terminal:
        return asr.load(folder, device=device, **options)
    with rich.progress.Progress(console=console, transient=True) as bar:
        task = bar.add_task("unpacking the graph, once", total=1, visible=False)
        return asr.load(
            folder,
            device=device,
            progress=lambda share: bar.update(task, completed=share, visible=True),
            **options,
        )
