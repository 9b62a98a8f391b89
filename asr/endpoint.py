"""When an utterance is over."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from asr.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Reason = Literal["silence", "longest"]


@dataclass(frozen=True)
class EndpointRules:
    """Seconds after which a segment ends; `float("inf")` turns a rule off.

    Attributes:
        silence: without speech, after some was heard.
        silence_before_speech: without any speech since the segment began; it then begins anew,
            and nothing is reported.
        longest: since the segment began. It is cut behind the last word that is stable, and what
            follows that word opens the next segment.
    """

    silence: float = 1.0
    silence_before_speech: float = 4.0
    longest: float = 20.0

    def __post_init__(self) -> None:
        for field in fields(self):
            seconds = getattr(self, field.name)
            if not seconds > 0:
                raise UsageError(
                    f"endpoint rule {field.name}: expected seconds above 0, got {seconds}"
                )


@dataclass(frozen=True, slots=True)
class Quiet:
    """How a segment has sounded so far.

    Attributes:
        frames: since it began.
        silent: of these, since the last whose best token was not blank.
        spoke: whether there was such a frame.
    """

    frames: int = 0
    silent: int = 0
    spoke: bool = False


@dataclass(frozen=True)
class Endpointer:
    """Finds the frame that ends a segment, the same one however the stream is cut.

    Attributes:
        rules: when a segment ends.
        frame: seconds per frame.
    """

    rules: EndpointRules
    frame: float

    def step(
        self, log_probs: NDArray[np.float32], state: Quiet | None = None
    ) -> tuple[int, Reason | None, Quiet]:
        """Listen to T more frames, or to as many of them as the segment has.

        Args:
            log_probs: [T, V], token 0 is blank.
            state: what the step before gave; None at the beginning of a segment.

        Returns:
            the number of these frames that belong to the segment, why it ends behind them (None
            when it does not), and the next state.
        """
        state = state or Quiet()
        silent, spoke = state.silent, state.spoke
        tokens = log_probs.argmax(axis=1).tolist()
        for number, token in enumerate(tokens, start=1):
            silent = 0 if token else silent + 1
            spoke = spoke or token != 0
            frames = state.frames + number
            patience = self.rules.silence if spoke else self.rules.silence_before_speech
            if silent * self.frame >= patience:
                return number, "silence", Quiet(frames, silent, spoke)
            if frames * self.frame >= self.rules.longest:
                return number, "longest", Quiet(frames, silent, spoke)
        return len(tokens), None, Quiet(state.frames + len(tokens), silent, spoke)
