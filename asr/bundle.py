"""A model folder: what is in it, and whether it fits together."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

FORMAT = 1
"""Version of the folder's layout."""
CONFIG, TOKENS = "config.json", "tokens.txt"
BLANK = "<blk>"
"""Name of token 0."""
MEND = "get the model folder again"
LARGEST = 1 << 24
"""No number in the settings, and no state of a stream, is larger."""


@dataclass(frozen=True)
class Settings:
    """What `config.json` says.

    Attributes:
        name: of the model.
        version: of the model.
        language: of its speech, as a BCP 47 tag.
        license: of the weights, as an SPDX expression.
        data: what the model was trained on.
        sample_rate: samples per second of its audio.
        frame: samples per output frame.
        delay: output frames at the start of a stream that are lead-in of the look-ahead.
        tail: output frames of silence that have to follow the last sample, besides the delay.
        model: file of the acoustic model in 32-bit floats.
        int8: file of the same in 8-bit integers, on the same states; None if there is none.
        states: shape of each of its states; None stands for the number of streams.
        graphs: file of each search graph by name.
        search: settings of the search in a graph.
        language_model: file of the language model that decides between the hypotheses of the search
            in the graph `dictation`; None if there is none.
        language_scale: its share, in [0, 1], against the language model of the graph.
        endpoint: seconds of each endpoint rule.
        files: size in bytes and SHA-256 of each file.
        format: version of the folder's layout.
    """

    name: str
    version: str
    language: str
    license: str
    data: str
    sample_rate: int
    frame: int
    delay: int
    tail: int
    model: str
    states: dict[str, list[int | None]]
    files: dict[str, tuple[int, str]]
    graphs: dict[str, str] = field(default_factory=dict)
    search: dict[str, Any] = field(default_factory=dict)
    endpoint: dict[str, float] = field(default_factory=dict)
    int8: str | None = None
    language_model: str | None = None
    language_scale: float = 0.65
    format: int = FORMAT

    def to_json(self) -> str:
        """The text of `config.json`."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> Settings:
        """Read a `config.json`.

        Raises:
            ModelError: when it is missing, damaged, or of another format.
        """
        try:
            values: Any = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ModelError(f"cannot read {path}: {error.strerror}; {MEND}") from None
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{path} is no JSON: {error}; {MEND}") from None
        if not isinstance(values, dict) or "format" not in values:
            raise ModelError(f"{path} holds no settings of a Rill model; {MEND}")
        if values["format"] != FORMAT:
            raise ModelError(
                f"{path} is of format {values['format']}, this version reads {FORMAT}; "
                "export the model again, or get the version of rill-asr that goes with it"
            )
        names = {field.name for field in fields(cls)}
        try:
            settings = cls(**{key: values[key] for key in names & values.keys()})
            settings._check()
        except (TypeError, ValueError) as error:
            raise ModelError(f"{path} lacks something, or has it wrong: {error}; {MEND}") from None
        return settings

    def _check(self) -> None:
        """Raises ValueError for the first setting that is not what it should be."""
        expected: dict[str, Callable[[Any], bool]] = {
            **dict.fromkeys(("name", "version", "language", "license", "data"), _is_text),
            "model": _is_name,
            **dict.fromkeys(("int8", "language_model"), lambda v: v is None or _is_name(v)),
            "language_scale": lambda value: isinstance(value, (int, float)) and 0 <= value <= 1,
            **dict.fromkeys(("sample_rate", "frame"), lambda value: _is_count(value) and value > 0),
            **dict.fromkeys(("delay", "tail"), lambda value: _is_count(value) and value <= 1000),
            "states": _maps_to(_is_shape),
            "files": _maps_to(_is_description),
            "graphs": _maps_to(_is_name),
            "search": _maps_to(lambda _: True),
            "endpoint": _maps_to(lambda value: isinstance(value, (int, float))),
        }
        for name, fits in expected.items():
            value = getattr(self, name)
            if not fits(value):
                raise ValueError(f"{name} cannot be {json.dumps(value)}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_name(value: Any) -> bool:
    """Of a file in the folder itself, which can be shown in a line."""
    return _is_text(value) and value.isprintable() and Path(value).name == value


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, list)
        and value.count(None) == 1
        and all(n is None or _is_count(n) for n in value)
        and math.prod(n for n in value if n is not None) <= LARGEST
    )


def _is_description(value: Any) -> bool:
    """Size in bytes and SHA-256."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and type(value[0]) is int
        and value[0] >= 0
        and _is_text(value[1])
    )


def _maps_to(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether a value is an object whose values fit."""
    return lambda value: isinstance(value, dict) and all(map(fits, value.values()))


@dataclass(frozen=True)
class Bundle:
    """A model folder whose files are the ones that its `config.json` describes.

    Attributes:
        path: the folder.
        settings: what `config.json` says.
        tokens: name of each token; its id is its place.
    """

    path: Path
    settings: Settings
    tokens: tuple[str, ...]

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Read a model folder; models and graphs are checked when their `file` is asked for.

        Raises:
            ModelError: when something is missing, damaged or does not fit, with the reason.
        """
        path = Path(path)
        if not path.is_dir():
            raise ModelError(f"there is no model folder {path}; `asr export` makes one")
        settings = Settings.read(path / CONFIG)
        bundle = cls(path, settings, _tokens(path / TOKENS))
        bundle.file(TOKENS)
        if settings.model not in settings.files:
            raise ModelError(f"{path / CONFIG} gives no SHA-256 for {settings.model}; {MEND}")
        return bundle

    @property
    def frame_seconds(self) -> float:
        """Seconds per output frame."""
        return self.settings.frame / self.settings.sample_rate

    @property
    def identity(self) -> str:
        """Tells this acoustic model from any other, in whatever precision."""
        return self.settings.files[self.settings.model][1][:16]

    def file(self, name: str) -> Path:
        """A file of the folder, after a look at its size and SHA-256.

        Raises:
            ModelError: when it is not the file that `config.json` describes.
        """
        path = self.path / name
        if name not in self.settings.files:
            raise ModelError(f"{self.path / CONFIG} gives no SHA-256 for {name}")
        size, digest = self.settings.files[name]
        try:
            there = path.stat().st_size
            if there != size:
                raise ModelError(f"{path} has {there} bytes, expected {size}; {MEND}")
            if _sha256(path) != digest:
                raise ModelError(f"{path} is not the file that {CONFIG} describes; {MEND}")
        except OSError as error:
            raise ModelError(f"cannot read {path}: {error.strerror}; {MEND}") from None
        return path

    def graph(self, name: str) -> Path:
        """The file of a search graph.

        Raises:
            ModelError: when the model has none of that name, or it is damaged.
        """
        known = self.settings.graphs
        if name not in known:
            there = ", ".join(known) or "none; load it with graph=None for its bare tokens"
            raise ModelError(f"{self.path} has no graph {name!r}; there is {there}")
        return self.file(known[name])


def describe(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file, as `config.json` holds them."""
    return path.stat().st_size, _sha256(path)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 16):
            digest.update(block)
    return digest.hexdigest()


def _tokens(path: Path) -> tuple[str, ...]:
    """Names by id from lines `name id`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        by_id = {int(number): name for name, number in (line.rsplit(" ", 1) for line in lines)}
        if not lines or sorted(by_id) != list(range(len(lines))):
            raise ValueError(f"ids are not 0 to {len(lines) - 1}")
        if by_id[0] != BLANK:
            raise ValueError(f"token 0 is {by_id[0]!r}, expected {BLANK!r}")
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}; {MEND}") from None
    return tuple(by_id[number] for number in range(len(lines)))
