"""Anybody's own speech: a file of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from asr.errors import TrainingError
from asr.training.corpora import BAD_LINE, NO_TRANSCRIPT, Entries, Entry, Skipped

FIELDS = ("audio", "text", "speaker", "id")


def utterances(path: Path) -> Entries:
    """A line an utterance: `{"audio": PATH, "text": TEXT, "speaker": NAME, "id": NAME}`.

    Relative paths count from the folder of the file. Speaker and id may be left out; then the
    path, as it is written, is the id.

    Raises:
        TrainingError: when the file cannot be read.
    """
    for where, line in lines(path):
        wrong = _wrong(line)
        if wrong:
            yield Skipped(where, BAD_LINE, wrong)
        elif "text" not in line:
            yield Skipped(where, NO_TRANSCRIPT, "the line has no text")
        else:
            yield Entry(
                line.get("id", line["audio"]),
                path.parent / line["audio"],
                line["text"],
                line.get("speaker"),
                path.stem,
            )


def _wrong(line: Any) -> str:
    """What is wrong with the form of a line; nothing, if it is right."""
    if not isinstance(line, Mapping):
        return "no JSON object"
    if "audio" not in line:
        return "the line has no audio"
    wrong = [name for name in FIELDS if not isinstance(line.get(name, ""), str)]
    if wrong:
        return f"{wrong[0]} is no string"
    return "" if line.get("id", line["audio"]).isprintable() else "the id is not printable"


def lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Each line that is not blank: where it stands, and its JSON value, None if it is none.

    Raises:
        TrainingError: when the file cannot be read.
    """
    try:
        texts = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        raise TrainingError(f"cannot read {path}: {error.strerror}") from None
    for number, text in enumerate(texts, 1):
        if text.strip():
            try:
                value = json.loads(text)
            except ValueError:
                value = None
            yield f"{path.name}:{number}", value
