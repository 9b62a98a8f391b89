"""Each cell follows its formula; any chunking gives what the whole gives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import TrainingError
from asr.nn.cells import CELLS, make_cell
from asr.nn.encoder import SUBSAMPLING, Encoder, EncoderConfig
from asr.nn.gru import GRU
from asr.nn.model import FRAME, CtcModel, adapted, joined
from tests.models import pair, tiny

SIZE = 6


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def rnn(W, U, b, c, x, h, _):
    return np.tanh(W @ x + b + U @ h + c), None


def gru(W, U, b, c, x, h, _):
    (Wr, Wz, Wn), (Ur, Uz, Un) = np.split(W, 3), np.split(U, 3)
    (br, bz, bn), (cr, cz, cn) = np.split(b, 3), np.split(c, 3)
    r, z = sigmoid(Wr @ x + br + Ur @ h + cr), sigmoid(Wz @ x + bz + Uz @ h + cz)
    return (1 - z) * np.tanh(Wn @ x + bn + r * (Un @ h + cn)) + z * h, None


def gru_reset_before(W, U, b, c, x, h, _):
    (Wr, Wz, Wn), (Ur, Uz, Un) = np.split(W, 3), np.split(U, 3)
    (br, bz, bn), (cr, cz, cn) = np.split(b, 3), np.split(c, 3)
    r, z = sigmoid(Wr @ x + br + Ur @ h + cr), sigmoid(Wz @ x + bz + Uz @ h + cz)
    return (1 - z) * np.tanh(Wn @ x + bn + Un @ (r * h) + cn) + z * h, None


def lstm(W, U, b, c, x, h, memory):
    i, f, g, o = np.split(W @ x + b + U @ h + c, 4)
    memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(memory), memory


FORMULAS = {"rnn": rnn, "gru": gru, "gru_reset_before": gru_reset_before, "lstm": lstm}


def test_every_cell_has_a_formula():
    assert FORMULAS.keys() == CELLS.keys()


@pytest.mark.parametrize("name", FORMULAS)
def test_cell_follows_its_formula(name):
    torch.manual_seed(1)
    cell = make_cell(name, SIZE, inputs="xavier", recurrent="orthogonal").double()
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter)
    weights = [
        cell.get_parameter(f"{kind}_l0").detach().numpy()
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    x, h, memory = torch.randn(7, 1, SIZE), torch.randn(1, 1, SIZE), torch.randn(1, 1, SIZE)
    x, h, memory = x.double(), h.double(), memory.double()
    outputs, _ = cell(x, (h, memory) if name == "lstm" else h)
    want_h, want_memory = h[0, 0].numpy(), memory[0, 0].numpy()
    for frame, output in zip(x[:, 0].numpy(), outputs[:, 0].detach().numpy(), strict=True):
        want_h, want_memory = FORMULAS[name](*weights, frame, want_h, want_memory)
        np.testing.assert_allclose(output, want_h, atol=1e-12)


def test_fast_gru_and_torchs_have_the_same_outputs_and_gradients():
    torch.manual_seed(2)
    fast = GRU(SIZE, SIZE).double()
    x = torch.randn(9, 3, SIZE, dtype=torch.double, requires_grad=True)
    h = torch.randn(1, 3, SIZE, dtype=torch.double, requires_grad=True)
    inputs = [x, h, *fast.parameters()]
    results = []
    for forward in (fast.forward, super(GRU, fast).forward):
        outputs, end = forward(x, h)
        loss = (outputs * torch.arange(SIZE)).sum() + end.square().sum()
        results.append([outputs, end, *torch.autograd.grad(loss, inputs)])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("name", ["xavier", "he", "orthogonal"])
def test_initialisations_have_the_scale_that_their_papers_give(name):
    torch.manual_seed(3)
    cell = make_cell("gru", 256, inputs=name, recurrent=name)
    want = {"xavier": 2 / 512, "he": 2 / 256, "orthogonal": 1 / 256}[name]
    for gate in cell.get_parameter("weight_hh_l0").split(256):
        assert gate.var().item() == pytest.approx(want, rel=0.02)
    if name == "orthogonal":
        torch.testing.assert_close(gate @ gate.T, torch.eye(256), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cell": "qrnn"},
        {"recurrent_init": "zeros"},
        {"layers": 0},
        {"lookahead": -1},
        {"heads": {}},
        {"groups": 0},
        {"groups": 3},
    ],
)
def test_impossible_configuration_is_refused(wrong):
    with pytest.raises(TrainingError):
        Encoder(EncoderConfig(**wrong))


def small(cell: str, lookahead: int, groups: int = 1) -> CtcModel:
    torch.manual_seed(4)
    heads = {"phones": 7, "characters": 5}
    config = EncoderConfig(
        cell, hidden=8, layers=3, channels=6, groups=groups, lookahead=lookahead, heads=heads
    )
    model = CtcModel(config).eval()
    model.mean.fill_(-10)
    model.deviation.fill_(4)
    if lookahead:
        torch.nn.init.normal_(model.encoder.lookahead.weight, std=0.3)
    return model


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("lookahead", "groups"), [(0, 1), (2, 1), (2, 2)])
@settings(max_examples=15)
@given(cuts=st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_streamed_equals_whole(cell, lookahead, groups, cuts):
    model = small(cell, lookahead, groups)
    audio = 0.1 * torch.randn(2, sum(cuts) * FRAME)
    with torch.inference_mode():
        whole, end = model.step(audio, model.start(2))
        state, pieces = model.start(2), []
        for piece in audio.split([n * FRAME for n in cuts], dim=1):
            outputs, state = model.step(piece, state)
            pieces.append(outputs)
    for head, log_probs in whole.items():
        assert log_probs.shape[1] == sum(cuts)
        streamed = torch.cat([outputs[head] for outputs in pieces], dim=1)
        torch.testing.assert_close(streamed, log_probs, atol=1e-5, rtol=0)
    torch.testing.assert_close(state, end, atol=1e-3, rtol=0)


def test_lookahead_sees_exactly_so_far_ahead():
    model = small("gru", lookahead=2)
    features = torch.randn(1, 10 * SUBSAMPLING, 80)
    changed = features.clone()
    changed[:, 6 * SUBSAMPLING :] += 1.0
    with torch.inference_mode():
        before, _ = model.encoder.step(features, model.encoder.start(1))
        after, _ = model.encoder.step(changed, model.encoder.start(1))
    differs = (before["phones"] != after["phones"]).any(dim=2)[0, 2:]  # lead-in taken off
    # output frame 4 sees two frames ahead of itself, and so the change in frame 6
    assert differs.tolist() == [False] * 4 + [True] * 4


@pytest.mark.parametrize("cell", CELLS)
def test_joined_models_give_the_mean_of_their_logits(cell):
    models = [tiny(cell, seed=seed) for seed in range(3)]
    models[2].mean.copy_(torch.linspace(-9, -7, 80))
    models[2].deviation.copy_(torch.linspace(3, 5, 80))
    whole = joined(models)
    assert whole.encoder.config.groups == 3
    audio = 0.1 * torch.randn(2, 20 * FRAME)
    with torch.inference_mode():
        alone = []
        for model in models:  # the whole one begins as if it had heard the first one's mean
            state = model.start(2)
            state["conv1"] += model.normalise(models[0].mean)[:, None]
            alone.append(model.step(audio, state)[0]["phones"])
        together = whole.step(audio, whole.start(2))[0]["phones"]
    mean = torch.stack(alone).mean(0).log_softmax(-1)  # softmax takes out what each has added
    torch.testing.assert_close(together, mean, atol=1e-4, rtol=0)
    assert joined(models[:1]) is models[0]


def test_models_that_do_not_fit_are_not_joined():
    for other in (tiny("lstm"), tiny(lookahead=1), pair()):
        with pytest.raises(TrainingError, match="cannot be joined"):
            joined([tiny(), other])
    with pytest.raises(TrainingError, match="cannot be joined"):
        joined([pair(), pair()])


def test_a_shorter_look_ahead_keeps_the_present():
    config = EncoderConfig(hidden=8, layers=2, channels=8, lookahead=4)
    long = CtcModel(config)
    torch.nn.init.normal_(long.encoder.lookahead.weight)
    short = adapted(long, replace(config, lookahead=1))
    assert torch.equal(short.encoder.lookahead.weight, long.encoder.lookahead.weight[:, :, :2])
    assert torch.equal(short.encoder.conv2.weight, long.encoder.conv2.weight)


@pytest.mark.parametrize(
    "change", [{"hidden": 12}, {"lookahead": 5}, {"lookahead": 0}, {"layers": 3}]
)
def test_a_model_does_not_become_anything(change):
    config = EncoderConfig(hidden=8, layers=2, channels=8, lookahead=4)
    with pytest.raises(TrainingError, match="cannot become"):
        adapted(CtcModel(config), replace(config, **change))
