"""Muon moves each gate by an orthogonal matrix, whatever the others do."""

from pathlib import Path

import pytest
import torch

from asr.nn.encoder import EncoderConfig
from asr.nn.model import CtcModel
from asr.training.config import TrainConfig
from asr.training.optimisers import Muon, Optimisers, make_muon, schedule


def moved(gradient: torch.Tensor, *, bfloat16: bool) -> torch.Tensor:
    """How far one step moves weights of three gates with 32 rows each, at a rate of 1."""
    weight = torch.nn.Parameter(torch.randn(gradient.shape, generator=torch.manual_seed(1)))
    before = weight.detach().clone()
    muon = make_muon([weight], rows=32, rate=1.0, decay=0.0, bfloat16=bfloat16)
    weight.grad = gradient
    muon.step()
    return before - weight.detach()


@pytest.mark.parametrize("shape", [(64, 64), (32, 96), (96, 32)])
def test_muon_is_that_of_torch_and_as_good_in_floats(shape):
    generator = torch.manual_seed(3)
    start = torch.randn(shape, generator=generator)
    ours, floats, theirs = (torch.nn.Parameter(start.clone()) for _ in range(3))
    how = {"lr": 0.02, "weight_decay": 0.05}
    optimisers = [
        Muon([ours], **how, bfloat16=True),
        Muon([floats], **how, bfloat16=False),
        torch.optim.Muon([theirs], **how),
    ]
    for _ in range(5):
        gradient = torch.randn(shape, generator=generator)
        for weight, optimiser in zip((ours, floats, theirs), optimisers, strict=True):
            weight.grad = gradient.clone()
            optimiser.step()
    torch.testing.assert_close(ours, theirs, atol=0, rtol=0)
    assert 0 < (floats - theirs).norm() < 0.02 * (theirs - start).norm()


@pytest.mark.parametrize("bfloat16", [True, False])
@pytest.mark.parametrize("shape", [(96, 32), (96, 8, 4)])
def test_steps_of_gates_are_orthogonal_and_their_own(shape, bfloat16):
    gradient = torch.randn(shape, generator=torch.manual_seed(2))
    step = moved(gradient, bfloat16=bfloat16)
    for gate in step.flatten(1).split(32):
        sizes = torch.linalg.svdvals(gate)
        assert sizes.min() > 0.3 and sizes.max() < 1.4, sizes  # the iteration is no nearer to 1
    louder = gradient.clone()
    louder[:32] *= 1000
    torch.testing.assert_close(moved(louder, bfloat16=bfloat16), step, atol=0.02, rtol=0)
    assert (step * gradient).sum() > 0


@pytest.mark.parametrize("groups", [1, 2])
def test_each_weight_has_one_optimiser(groups):
    model = CtcModel(EncoderConfig(hidden=24, layers=2, channels=16, groups=groups))
    config = TrainConfig(Path(), Path(), Path(), encoder=model.encoder.config, muon_rate=0.02)
    adamw, muon = Optimisers.of(model, config, bfloat16=True).each
    cells = {p.data_ptr() for p in model.encoder.cells.parameters() if p.ndim == 2}
    begins = {p.data_ptr() for p in muon.param_groups[0]["params"]}
    plain = {p.data_ptr() for group in adamw.param_groups for p in group["params"]}
    assert cells < begins and not begins & plain
    counted = [p.numel() for o in (adamw, muon) for g in o.param_groups for p in g["params"]]
    assert sum(counted) == sum(p.numel() for p in model.parameters())
    plain_config = TrainConfig(Path(), Path(), Path())
    assert len(Optimisers.of(model, plain_config, bfloat16=True).each) == 1


def test_the_rate_rises_and_falls():
    shares = [schedule(step, warmup=10, total=110) for step in range(111)]
    assert shares[0] == pytest.approx(0.1) and max(shares) == shares[9] == shares[10] == 1
    assert shares[60] == pytest.approx(0.5) and shares[110] == 0
    assert shares[10:] == sorted(shares[10:], reverse=True)
