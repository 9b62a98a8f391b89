"""Figures of an evaluation as SVG that takes its colours from the page around it."""

from __future__ import annotations

import io
import itertools
import re
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from asr.evaluation.calibration import BINS
from asr.evaluation.summary import ALL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from asr.evaluation.alignment import Span
    from asr.evaluation.calibration import Bin
    from asr.evaluation.summary import Row, Summary
    from asr.results import Word

    Floats = NDArray[np.float32]

PAINTS = {
    "ink": "#010101",
    "muted": "#020202",
    "accent": "#030303",
    "second": "#040404",
    "third": "#050505",
    "fourth": "#060606",
}
"""Stand-ins for the colours of the page's style sheet, by its variables' names."""
LINES = ("accent", "second", "third", "fourth")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "text.color": PAINTS["ink"],
    "axes.labelcolor": PAINTS["ink"],
    "axes.edgecolor": PAINTS["muted"],
    "xtick.color": PAINTS["muted"],
    "ytick.color": PAINTS["muted"],
    "xtick.labelcolor": PAINTS["ink"],
    "ytick.labelcolor": PAINTS["ink"],
    "legend.frameon": False,
    "legend.fontsize": 8,
}
WIDTH = 4.2
"""Inches; a phone shows so much without making the letters smaller."""
BAR = 40
"""Milliseconds of a bar of the delays: a frame, so that all bars stand for as many delays."""
INCHES_PER_SECOND = 1.7
"""Of the time axis of an utterance, wide enough for its words."""
LEAST = -8.0
"""Log-probabilities below are drawn like this one."""
WINDOW, HOP = 400, 160
"""Samples of the spectrogram's window and between two of them: 25 and 10 ms at 16 kHz."""


def error_by_group(rows: Sequence[Row]) -> str:
    """Word error rates with their intervals, a bar for each group."""
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 0.5 + 0.38 * len(rows)), layout="constrained")
        axes = figure.subplots()
        rates = np.array([100 * row.words.rate for row in rows])
        intervals = 100 * np.array([row.word_interval for row in rows])
        places = np.arange(len(rows))
        axes.barh(places, rates, height=0.6, color=PAINTS["accent"])
        spread = np.maximum(np.abs(intervals - rates[:, None]).T, 0)
        axes.errorbar(rates, places, xerr=spread, fmt="none", ecolor=PAINTS["ink"], capsize=3)
        axes.set_yticks(places, [row.name for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel("word errors, %")
        axes.set_xlim(left=0)
        return _svg(figure)


def error_by_ratio(summary: Summary) -> str:
    """Word error rates over the ratio of speech to noise, a line for each source."""
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 2.8), layout="constrained")
        axes = figure.subplots()
        passes = [summary.sources, *summary.noise.values()]
        names = ["clean", *(f"{snr:g} dB" for snr in summary.noise)]
        paints = itertools.cycle(LINES)
        for number, row in enumerate(summary.sources):
            rates = [100 * rows[number].words.rate for rows in passes]
            whole = row.name == ALL
            color = PAINTS["ink" if whole else next(paints)]
            axes.plot(names, rates, "o-", color=color, linewidth=2 if whole else 1, label=row.name)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("word errors, %")
        axes.legend()
        return _svg(figure)


def delays(summary: Summary) -> str:
    """Histogram of the emission delays of correct words."""
    milliseconds = 1000 * np.array(summary.timings[ALL].emission)
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 2.4), layout="constrained")
        axes = figure.subplots()
        low, high = np.percentile(milliseconds, [0.5, 98]) if len(milliseconds) else (0, BAR)
        edges = np.arange(low - BAR / 2, high + BAR, BAR).tolist()
        axes.hist(np.clip(milliseconds, low, high), edges, color=PAINTS["accent"])
        if len(milliseconds):
            median = float(np.median(milliseconds))
            label = f"median {median:.0f} ms"
            axes.axvline(median, color=PAINTS["ink"], linewidth=1, linestyle="--", label=label)
            axes.legend(loc="upper right")
        axes.set_xlabel(
            "ms from the word's end until it was shown and stayed\n(outer bars: and beyond)"
        )
        axes.set_ylabel("words")
        return _svg(figure)


def reliability(bins: Sequence[Bin]) -> str:
    """How often words of a confidence are right."""
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 2.8), layout="constrained")
        axes = figure.subplots()
        axes.bar(
            [one.low for one in bins],
            [one.correct for one in bins],
            width=0.9 / BINS,
            align="edge",
            color=PAINTS["accent"],
        )
        axes.plot([0, 1], [0, 1], "--", color=PAINTS["ink"], linewidth=1, label="calibrated")
        axes.legend(loc="upper left")
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="share of words correct")
        return _svg(figure)


def utterance(
    samples: Floats,
    rate: int,
    log_probs: Floats,
    tokens: Sequence[str],
    frame: float,
    heard: Sequence[Word],
    said: Sequence[tuple[str, Span]],
) -> str:
    """An utterance: its words at their times, its log-probabilities, its spectrogram.

    Args:
        samples: [S].
        rate: samples per second.
        log_probs: [T, V].
        tokens: V names.
        frame: seconds from one row of log_probs to the next.
        heard: words of the finals.
        said: words of the text, where they lie.
    """
    seconds = len(samples) / rate
    likely = np.unique(log_probs.argmax(axis=1)).tolist()
    heights = [0.9, 0.13 * len(likely) + 0.1, 1.3]
    with mpl.rc_context(STYLE):
        size = (max(WIDTH, 0.7 + INCHES_PER_SECOND * seconds), sum(heights) + 0.6)
        figure = Figure(size, layout="constrained")
        words, picture, spectrum = figure.subplots(3, sharex=True, height_ratios=heights)
        lanes: dict[str, Sequence[tuple[str, Span | Word]]] = {
            "said": said,
            "heard": [(word.text, word) for word in heard],
        }
        for lane, (name, spans) in enumerate(lanes.items()):
            _draw_words(words, lane, spans, PAINTS[LINES[lane]])
            words.annotate(
                name,
                (0, lane + 0.3),
                ha="right",
                fontsize=8,
                xytext=(-4, 0),
                textcoords="offset points",
            )
        words.set(ylim=(2, 0), yticks=[], xlim=(0, seconds))
        words.spines[:].set_visible(False)
        words.tick_params(bottom=False)
        picture.imshow(
            np.maximum(log_probs[:, likely], LEAST).T,
            aspect="auto",
            interpolation="nearest",
            cmap="magma",
            extent=(0, len(log_probs) * frame, len(likely) - 0.5, -0.5),
        )
        picture.set_yticks(range(len(likely)), [tokens[token] for token in likely], fontsize=6)
        picture.set_ylabel("log-probability")
        spectrum.specgram(
            samples + 1e-6, WINDOW, rate, noverlap=WINDOW - HOP, cmap="magma", vmin=-130
        )
        spectrum.set(xlabel="seconds", ylabel="Hz", xlim=(0, seconds))
        return _svg(figure)


def _draw_words(
    axes: Axes, lane: int, words: Sequence[tuple[str, Span | Word]], color: str
) -> None:
    """Words over their spans; neighbours stand at two heights, so that short ones have room."""
    for number, (text, span) in enumerate(words):
        axes.plot(
            [span.start, span.end],
            [lane + 0.75] * 2,
            color=color,
            linewidth=4,
            solid_capstyle="butt",
        )
        centre = (span.start + span.end) / 2
        axes.text(centre, lane + (0.3, 0.6)[number % 2], text, ha="center", fontsize=8)


def _svg(figure: Figure) -> str:
    """The figure as an element of a page."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[a-z0-9]+_\d+"', "", svg)  # the same in every figure
    for name, color in PAINTS.items():
        svg = svg.replace(color, f"var(--{name})")
    return svg
