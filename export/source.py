"""What is exported: a checkpoint of training, or a model folder that was exported already."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch

from asr.bundle import Bundle
from asr.decoding.lexicon import TOKENS
from asr.errors import ExportError
from asr.nn.encoder import EncoderConfig
from asr.nn.model import HEAD, CtcModel, joined

from .half import unpacked
from .layers import GATES, OPERATORS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Weights = dict[str, NDArray[Any]]

FACTS = ("version", "language", "license", "data", "search", "language_scale", "endpoint")
"""Settings that say nothing of the acoustic model's shape."""


@dataclass(frozen=True)
class Source:
    """A model and what belongs to it.

    Attributes:
        model: in torch.
        tokens: name of each token of its head.
        facts: fields of `asr.bundle.Settings` by name, those of FACTS that are known.
        graphs: search graphs by name.
        language_model: what decides between the hypotheses of the search, if there is one.
        card: the model card, if there is one.
        priors: share of each token in the training data; empty if unknown.
    """

    model: CtcModel
    tokens: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    graphs: dict[str, Path] = field(default_factory=dict)
    language_model: Path | None = None
    card: Path | None = None
    priors: tuple[float, ...] = ()

    @classmethod
    def open(cls, path: Path) -> Source:
        """Read a checkpoint, or a model folder.

        Raises:
            ModelError: when it is neither.
            ExportError: when the folder's model is not one that this version wrote.
        """
        if not path.is_dir():
            model, metadata = CtcModel.load(path)
            return cls(model, TOKENS, priors=tuple(metadata.get("priors", ())))
        bundle = Bundle.open(path)
        card = path / "README.md"
        language_model = bundle.settings.language_model
        return cls(
            _restored(bundle),
            bundle.tokens,
            {name: getattr(bundle.settings, name) for name in FACTS},
            {name: bundle.graph(name) for name in bundle.settings.graphs},
            bundle.file(language_model) if language_model else None,
            card if card.is_file() else None,
        )

    @classmethod
    def joined(cls, paths: Sequence[Path]) -> Source:
        """Read several, and make one model of them; see `asr.nn.model.joined`.

        What belongs to it is what belongs to the first, but for the priors, which are the means.

        Raises:
            TrainingError: when they do not fit one another.
        """
        sources = [cls.open(path) for path in paths]
        priors = np.array([source.priors for source in sources if source.priors])
        return replace(
            sources[0],
            model=joined([source.model for source in sources]),
            priors=tuple(priors.mean(axis=0).tolist()) if len(priors) == len(sources) else (),
        )


def _restored(bundle: Bundle) -> CtcModel:
    """The model in torch, from the weights in `model.onnx`."""
    path = bundle.file(bundle.settings.model)
    try:
        graph = onnx.load(path).graph
        weights = unpacked(graph.initializer)
        model = CtcModel(_config(graph, weights, bundle.settings.delay))
        state = {name: torch.tensor(value) for name, value in _parameters(model, weights).items()}
        model.load_state_dict(state)
    except Exception as error:  # whatever protobuf and torch find wrong
        raise ExportError(
            f"{path} is no model that `asr export` of this version wrote in ONNX ({error}); export "
            "from the checkpoint"
        ) from None
    return model.eval()


def _config(graph: onnx.GraphProto, weights: Weights, lookahead: int) -> EncoderConfig:
    cells = [node for node in graph.node if node.op_type in OPERATORS.values()]
    attributes = {attribute.name: attribute.i for attribute in cells[0].attribute}
    name = {"LSTM": "lstm", "RNN": "rnn", "GRU": "gru"}[cells[0].op_type]
    if name == "gru" and not attributes["linear_before_reset"]:
        name = "gru_reset_before"
    hidden = len(weights["norm.bias"])
    groups = hidden // attributes["hidden_size"]
    return EncoderConfig(
        cell=name,
        hidden=hidden,
        layers=len(cells) // groups,
        groups=groups,
        channels=len(weights["conv1.bias"]),
        lookahead=lookahead,
        heads={HEAD: weights["head.weight"].shape[1]},
    )


def _parameters(model: CtcModel, weights: Weights) -> Weights:
    """Weights by their names in torch."""
    config = model.encoder.config
    found: Weights = {name: weights[name] for name in ("mean", "deviation")}
    for part in ("weight", "bias"):
        found[f"encoder.norm.{part}"] = weights[f"norm.{part}"]
    groups = [""] if config.groups == 1 else [f".{k}" for k in range(config.groups)]
    for name, parts in (("conv1", [""]), ("conv2", groups)):
        rows, inputs, taps = model.encoder.get_parameter(f"{name}.weight").shape
        matrix = np.concatenate([weights[f"{name}{part}.weight"].T for part in parts])
        matrix = matrix.reshape(rows, taps, inputs).transpose(0, 2, 1)
        found[f"encoder.{name}.weight"] = matrix
        found[f"encoder.{name}.bias"] = weights[f"{name}.bias"].reshape(-1)
    found[f"encoder.heads.{HEAD}.weight"] = weights["head.weight"].T
    found[f"encoder.heads.{HEAD}.bias"] = weights["head.bias"]
    if config.lookahead:
        ahead = [weights[f"lookahead.weight{i}"] for i in range(config.lookahead + 1)]
        found["encoder.lookahead.weight"] = np.stack(ahead, axis=1)[:, None]
    order = np.argsort(GATES[config.cell])
    for i in range(config.layers):
        for part in ("weight", "bias"):
            found[f"encoder.norms.{i}.{part}"] = weights[f"layer{i}.norm.{part}"]
        for of in groups:
            layer = f"layer{i}{of}"
            biases = np.split(weights[f"{layer}.B"][0], 2)
            values = (weights[f"{layer}.W"][0], weights[f"{layer}.R"][0], *biases)
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            for name, value in zip(names, values, strict=True):
                gates = np.split(value, len(order))
                parameter = f"encoder.cells.{i}{of}.{name}_l0"
                found[parameter] = np.concatenate([gates[k] for k in order])
    return found
