"""Checkpoints of models: read whole, or refused with the reason."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from asr.errors import ModelError

M = TypeVar("M", bound=nn.Module)


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a file whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    torch.save(content, new)
    new.replace(path)


def load(path: Path, make: Callable[[dict[str, Any]], M]) -> tuple[M, dict[str, Any]]:
    """Read a file of weights, `model`, and what the model has to be made of.

    Args:
        path: the file.
        make: the model of what is in the file; takes what it uses out of it.

    Returns:
        The model in evaluation mode, and what is left.

    Raises:
        ModelError: when the file is missing or no checkpoint of this kind.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        model = make(content)
        model.load_state_dict(content.pop("model"))
    except pickle.UnpicklingError:
        raise ModelError(f"{path} is not a checkpoint, but another kind of file") from None
    except (OSError, RuntimeError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise ModelError(f"{path} is not a checkpoint of this kind: {error}") from None
    return model.eval(), content
