"""Where each word of a known text lies in its recording, by forced alignment.

The CTC path of a model that must say exactly the text, a phone for each place, is searched
(`torchaudio.functional.forced_align`); a word lasts from the first frame of its first phone to the
last of its last.

What this is worth hangs on the model that aligns. CTC models say a phone in one or two frames
somewhere within it, many of them late, so words come out shorter than they are, and shifted as that
model shifts them. A model that aligns itself shares its shift with what is measured: delays and
errors of times come out too small by it. For figures that compare models, align all of them with
one, the best at hand (`--aligner`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torchaudio.functional import forced_align

from asr.decoding.lexicon import PHONES, WORD, Lexicon
from asr.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from asr.acoustic import AcousticModel

    Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Span:
    """Where a word lies, in seconds from the first sample."""

    start: float
    end: float


def log_probabilities(acoustic: AcousticModel, samples: Floats) -> Floats:
    """[T, V] for a whole utterance [S]; frame t begins at t frames after the first sample."""
    settings = acoustic.bundle.settings
    behind = (settings.delay + settings.tail) * settings.frame
    padded = np.pad(samples, (0, -len(samples) % settings.frame + behind))
    log_probs, _ = acoustic.step(padded[None])
    return log_probs[0, settings.delay :]


def pronunciations(texts: Iterable[str]) -> Lexicon:
    """Of all words of the texts that can be pronounced: a to z and the apostrophe.

    Raises:
        GraphError: when the CMU dictionary or espeak-ng is missing.
    """
    words = {word for text in texts for word in text.split()}
    return Lexicon.pronounce(sorted(filter(WORD.fullmatch, words)))


class Aligner:
    """A model of phones that says where words are.

    Attributes:
        acoustic: the model.
        lexicon: of each word the first pronunciation counts, as in training.
    """

    def __init__(self, acoustic: AcousticModel, lexicon: Lexicon) -> None:
        """Raises ModelError when the model's tokens are not phones."""
        ids = {token: number for number, token in enumerate(acoustic.bundle.tokens)}
        if not ids.keys() >= set(PHONES):
            raise ModelError(
                f"{acoustic.bundle.path} cannot align: its tokens are not the phones "
                f"{PHONES[0]} ... {PHONES[-1]}; name a model of phones with --aligner"
            )
        self.acoustic, self.lexicon = acoustic, lexicon
        self._ids = ids

    def spans(self, samples: Floats, text: str) -> tuple[Span, ...] | None:
        """The span of each word of `text` in [S], one for each word.

        Returns:
            None when a word has no pronunciation, or there are more phones than frames.
        """
        words = text.split()
        if not words or not all(word in self.lexicon for word in words):
            return None
        tokens = [[self._ids[phone] for phone in self.lexicon[word][0]] for word in words]
        ends = np.cumsum([len(spoken) for spoken in tokens])
        target = np.concatenate(tokens)
        log_probs = log_probabilities(self.acoustic, samples)
        if len(log_probs) < len(target) + np.sum(target[1:] == target[:-1]):
            return None
        starts, stops = _token_frames(log_probs, target)
        seconds = self.acoustic.bundle.frame_seconds
        longest = len(samples) / self.acoustic.bundle.settings.sample_rate
        return tuple(
            Span(float(starts[first]) * seconds, min(float(stops[end - 1]) * seconds, longest))
            for first, end in zip([0, *ends[:-1]], ends, strict=True)
        )


def _token_frames(
    log_probs: Floats, target: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First frame, and frame after the last, of each token of the best path, [L] each."""
    path, _ = forced_align(torch.from_numpy(log_probs)[None], torch.from_numpy(target)[None])
    tokens = path[0].numpy()
    changes = np.flatnonzero(np.diff(tokens, prepend=-1))
    stops = np.append(changes[1:], len(tokens))
    spoken = tokens[changes] != 0
    return changes[spoken], stops[spoken]
