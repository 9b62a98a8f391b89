"""The filter bank equals those of Kaldi that everybody uses."""

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given
from hypothesis import strategies as st

from asr.nn.frontend import FLOOR, HOP, MELS, RATE, Frontend
from tests.speech import utterances

SETTLED = slice(2, None)
"""Kaldi mirrors the signal at its left edge, Rill reads zeros: that touches the first frame only,
and Rill's first frame is the one before Kaldi's first."""


def tone(hertz: float, amplitude: float) -> torch.Tensor:
    time = torch.arange(RATE, dtype=torch.float64) / RATE
    return (amplitude * torch.sin(2 * torch.pi * hertz * time)).float()


def noise(amplitude: float) -> torch.Tensor:
    return amplitude * torch.randn(RATE, generator=torch.Generator().manual_seed(0))


SIGNALS = {
    "noise": noise(0.1),
    "faint noise": noise(1e-4),
    "noise on an offset": noise(0.01) + 0.1,
    "silence": torch.zeros(RATE),
    "clipped tone": (10 * tone(300, 0.5)).clamp(-1, 1),
    "clipped noise": noise(0.5).clamp(-1, 1),
    **{f"{hertz} Hz": tone(hertz, 0.1) for hertz in (50, 200, 440, 1000, 3000, 7000)},
}


def rill(samples: torch.Tensor) -> torch.Tensor:
    """Features of whole frames, aligned with Kaldi's."""
    frontend = Frontend()
    padded = torch.nn.functional.pad(samples, (0, -len(samples) % HOP + HOP))
    features, _ = frontend.step(padded[None], frontend.start(1))
    return features[0, 1:]


def torchaudio_fbank(samples: torch.Tensor) -> torch.Tensor:
    return torchaudio.compliance.kaldi.fbank(
        samples[None],
        num_mel_bins=MELS,
        sample_frequency=RATE,
        dither=0,
        snip_edges=False,
        low_freq=20,
        high_freq=-400,
        energy_floor=0,
    )


def kaldi_native_fbank(samples: torch.Tensor) -> torch.Tensor:
    import kaldi_native_fbank as knf

    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.snip_edges = False
    options.mel_opts.num_bins = MELS
    options.mel_opts.low_freq = 20
    options.mel_opts.high_freq = -400
    fbank = knf.OnlineFbank(options)
    fbank.accept_waveform(RATE, samples.tolist())
    fbank.input_finished()
    return torch.tensor(np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)]))


def assert_close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-3) -> None:
    # the last two of Kaldi's frames reach over the end, where it mirrors the signal too
    theirs = theirs[SETTLED][:-2].float()
    assert len(theirs) > 10
    difference = (ours[SETTLED][: len(theirs)] - theirs).abs().max().item()
    assert difference <= tolerance


@pytest.mark.parametrize("reference", [torchaudio_fbank, kaldi_native_fbank])
@pytest.mark.parametrize("name", SIGNALS)
def test_equals_kaldi(name, reference):
    assert_close(rill(SIGNALS[name]), reference(SIGNALS[name]))


@pytest.mark.parametrize("reference", [torchaudio_fbank, kaldi_native_fbank])
def test_equals_kaldi_on_speech(reference):
    for utterance in utterances("dev", count=5):
        samples = torch.from_numpy(utterance.samples)
        assert_close(rill(samples), reference(samples))


@pytest.mark.parametrize(
    ("samples", "tolerance"),
    [
        pytest.param(noise(0.01) + 0.9, 1e-3, id="offset of nearly full scale"),
        pytest.param(noise(5.0).clamp(-1, 1), 1e-3, id="noise clipped to a square"),
        # from a full-scale tone to its faintest leakage float32 runs out of digits; Kaldi's own
        # arithmetic is 4e-3 off at 3 kHz
        pytest.param(tone(200, 1.0), 1e-3, id="full scale at 200 Hz"),
        pytest.param(tone(3000, 1.0), 4e-3, id="full scale at 3 kHz"),
    ],
)
def test_extremes_equal_kaldi_computed_in_float64(samples, tolerance):
    assert_close(rill(samples), torchaudio_fbank(samples.double()), tolerance)


def test_silence_is_the_floor():
    assert rill(torch.zeros(RATE)).eq(FLOOR).all()


@given(st.lists(st.integers(1, 7), min_size=1, max_size=8))
def test_any_cut_gives_the_same_features(hops):
    """But for float32's rounding, which is of the size of a frame's loudest band."""
    samples = noise(0.1)[: sum(hops) * HOP]
    frontend = Frontend()
    whole, _ = frontend.step(samples[None], frontend.start(1))
    tail, pieces = frontend.start(1), []
    for piece in samples.split([n * HOP for n in hops]):
        features, tail = frontend.step(piece[None], tail)
        pieces.append(features)
    amplitudes, wanted = (torch.exp(x / 2) for x in (torch.cat(pieces, dim=1), whole))
    assert ((amplitudes - wanted).abs() <= 1e-6 * wanted.amax(-1, keepdim=True)).all()
