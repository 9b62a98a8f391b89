"""Muon moves each gate by an orthogonal matrix, whatever the others do."""

from pathlib import Path

import pytest
import torch

from asr.nn.encoder import EncoderConfig
from asr.nn.model import CtcModel
from asr.training.config import TrainConfig
from asr.training.optimisers import Optimisers, make_muon, schedule


def moved(gradient: torch.Tensor) -> torch.Tensor:
    """How far one step moves weights of three gates with 32 rows each, at a rate of 1."""
    weight = torch.nn.Parameter(torch.randn(gradient.shape, generator=torch.manual_seed(1)))
    before = weight.detach().clone()
    muon = make_muon([weight], rows=32, rate=1.0, decay=0.0)
    weight.grad = gradient
    muon.step()
    return before - weight.detach()


@pytest.mark.parametrize("shape", [(96, 32), (96, 8, 4)])
def test_steps_of_gates_are_orthogonal_and_their_own(shape):
    gradient = torch.randn(shape, generator=torch.manual_seed(2))
    step = moved(gradient)
    for gate in step.flatten(1).split(32):
        sizes = torch.linalg.svdvals(gate)
        assert sizes.min() > 0.3 and sizes.max() < 1.4, sizes  # the iteration is no nearer to 1
    louder = gradient.clone()
    louder[:32] *= 1000
    torch.testing.assert_close(moved(louder), step, atol=0.02, rtol=0)
    assert (step * gradient).sum() > 0


@pytest.mark.parametrize("groups", [1, 2])
def test_each_weight_has_one_optimiser(groups):
    model = CtcModel(EncoderConfig(hidden=24, layers=2, channels=16, groups=groups))
    config = TrainConfig(Path(), Path(), Path(), encoder=model.encoder.config, muon_rate=0.02)
    adamw, muon = Optimisers.of(model, config).each
    cells = {p.data_ptr() for p in model.encoder.cells.parameters() if p.ndim == 2}
    begins = {p.data_ptr() for p in muon.param_groups[0]["params"]}
    plain = {p.data_ptr() for group in adamw.param_groups for p in group["params"]}
    assert cells < begins and not begins & plain
    counted = [p.numel() for o in (adamw, muon) for g in o.param_groups for p in g["params"]]
    assert sum(counted) == sum(p.numel() for p in model.parameters())
    assert len(Optimisers.of(model, TrainConfig(Path(), Path(), Path())).each) == 1


def test_the_rate_rises_and_falls():
    shares = [schedule(step, warmup=10, total=110) for step in range(111)]
    assert shares[0] == pytest.approx(0.1) and max(shares) == shares[9] == shares[10] == 1
    assert shares[60] == pytest.approx(0.5) and shares[110] == 0
    assert shares[10:] == sorted(shares[10:], reverse=True)
