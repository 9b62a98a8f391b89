"""Words on a terminal while they are spoken."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.text import Text

from asr.results import Event, Final, Partial, Rejected
from asr.writers import REJECTED, meaning

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from numpy.typing import NDArray

QUIETEST = -60.0
"""Decibels of full scale at which the meter begins."""
BARS = 12


class LiveText:
    """Finals line by line, and below them the partial and a level meter, in place.

    Where standard output is no terminal there are the finals alone.
    """

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._partial = Text()

    def __enter__(self) -> LiveText:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(
        self, events: Iterable[Event], block: NDArray[np.float32] | None = None, note: str = ""
    ) -> None:
        """Show what was recognised, the level of the block, and a note beside it."""
        for event in events:
            if isinstance(event, Final | Rejected):
                self._partial = Text()
                self._console.print(_line(event), soft_wrap=not self._console.is_terminal)
            elif isinstance(event, Partial):
                rest = event.text.removeprefix(event.stable)
                self._partial = Text.assemble(event.stable, (rest, "dim"))
        if self._console.is_terminal:
            bar = Text(f"{meter(block)} " if block is not None else "", "green")
            self._live.update(Text.assemble(bar, (note, "red"), self._partial), refresh=True)


def _line(event: Final | Rejected) -> Text:
    """The words of a segment, and behind them what they mean if a grammar's tags say that."""
    if isinstance(event, Rejected):
        return Text(REJECTED, "dim")
    match = event.segment.match
    tagged = match is not None and (match.slots or match.tags)
    facts = json.dumps(meaning(match), ensure_ascii=False) if match and tagged else ""
    return Text.assemble(event.segment.text, (f"  {facts}" if facts else "", "dim"))


def meter(block: NDArray[np.float32]) -> str:
    """The level of samples in [-1, 1] as a bar of fixed width."""
    power = float(np.mean(np.square(block))) if len(block) else 0.0
    decibels = 10 * math.log10(power) if power else QUIETEST
    filled = round(BARS * min(1.0, max(0.0, 1 - decibels / QUIETEST)))
    return "▮" * filled + "▯" * (BARS - filled)
