"""Small models with random weights, exported for real."""

from pathlib import Path

import torch

from asr.decoding.lexicon import TOKENS
from asr.export.folder import export
from asr.nn.encoder import EncoderConfig
from asr.nn.model import CtcModel, joined


def tiny(cell: str = "gru", lookahead: int = 2, seed: int = 0) -> CtcModel:
    """A model with random weights that reacts to what it hears."""
    torch.manual_seed(seed)
    model = CtcModel(
        EncoderConfig(
            cell, hidden=16, layers=3, channels=12, lookahead=lookahead, heads={"phones": 40}
        )
    )
    model.mean.fill_(-8)
    model.deviation.fill_(4)
    for name, parameter in model.named_parameters():
        if name.endswith("bias") or "bias_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    torch.nn.init.normal_(model.encoder.heads["phones"].weight, std=1.0)
    if lookahead:
        torch.nn.init.normal_(model.encoder.lookahead.weight, std=0.3)
    return model.eval()


def pair(cell: str = "gru", lookahead: int = 2) -> CtcModel:
    """Two of them joined."""
    return joined([tiny(cell, lookahead, seed) for seed in range(2)])


def export_tiny(folder: Path, model: CtcModel | None = None, **facts) -> Path:
    """A model folder."""
    known = {"version": "1", "language": "en", "license": "Apache-2.0", "data": "none"}
    export(model or tiny(), TOKENS, folder, **{**known, "int8": False, **facts})
    return folder
