"""Speech as a microphone hears it that stands in a room, some way off."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from lhotse.augmentation.utils import FastRandomRIRGenerator
from torchaudio.functional import fftconvolve

from asr.nn.frontend import RATE
from asr.training.augment import Floats


def responses(seed: int, longest: float = 0.8) -> Iterator[Floats]:
    """Impulse responses of random rooms, without end, the same ones for the same seed.

    They are lhotse's (`FastRandomRIRGenerator`): the microphone is 0.2 to 12 m away, and an echo
    falls by 60 dB within 0.1 to `longest` seconds.

    Yields:
        [R] at RATE, from the sound that comes directly on.
    """
    generator = FastRandomRIRGenerator(
        sr=RATE, max_T60=longest, room_seed=seed, source_seed=seed + 1
    )
    state = torch.Generator().manual_seed(seed).get_state()
    while True:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # several would write reflections to one place in any order
        with torch.random.fork_rng(devices=[]):  # it draws from torch's own randomness as well
            torch.set_rng_state(state)
            response = np.asarray(generator()[0], np.float32)
            state = torch.get_rng_state()
        torch.set_num_threads(threads)
        yield response[int(np.abs(response).argmax()) :]


def in_room(samples: Floats, response: Floats) -> Floats:
    """Samples [S] in [-1, 1] as they are heard in a room, as loud as they were.

    Args:
        samples: of speech, at RATE.
        response: [R], as `responses` gives it.

    Returns:
        [S], quieter where it would not be in [-1, 1].
    """
    dry = torch.from_numpy(samples)
    wet = fftconvolve(dry, torch.from_numpy(response))[: len(dry)]
    wet *= dry.norm() / wet.norm().clamp_min(1e-9)
    heard: Floats = (wet / wet.abs().max().clamp_min(1.0)).numpy()
    return heard
