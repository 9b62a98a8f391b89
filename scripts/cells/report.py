"""Tables and figures of docs/cells.md, from the results that are there."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asr.nn.cells import make_cell
from cells.gradients import CLIPPING
from cells.setting import CELLS, INITIALISATIONS, REFERENCE, Setting, parameters, shapes

Results = dict[str, Any]

COLOURS = {"rnn": "#b04a3a", "lstm": "#3a6fb0", "gru": "#2f8f5b", "gru_reset_before": "#8a6bbf"}
SHADES = {"xavier": "#3a6fb0", "he": "#b04a3a", "orthogonal": "#2f8f5b"}
CLIPS = {
    "none": ("#b04a3a", "not clipped"),
    "norm": ("#2f8f5b", "clipped by norm"),
    "value": ("#3a6fb0", "clipped by value"),
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "rill",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.facecolor": "white",
}
NAMES = ["cell", "equal", "units", "parameters", "of them in cells"]
DISTANCES = (10, 50, 100, 500)
FAINT = 1e-30
"""Smallest gradient that is drawn."""


def write(done: Results, total: int, setting: Setting, docs: Path) -> None:
    """Replace the tables between the marks of `docs/cells.md`, and draw its figures."""
    page = docs / "cells.md"
    text = page.read_text(encoding="utf-8")
    tables = {
        "state": f"{len(done)} of {total} runs are in the tables and figures below.",
        "costs": _costs(done),
        "layers": _layers(done),
        "stacks": _stacks(done),
        "errors": _errors(done, len(setting.seeds)),
        "rates": _rates(done),
        "reach": _reach(done),
        "explosion": _explosion(done),
    }
    for name, table in tables.items():
        around = re.split(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)", text, flags=re.DOTALL)
        if len(around) != 2:
            raise ValueError(f"{page} has no place for the table {name}")
        text = f"{table}\n".join(around)
    page.write_text(text, encoding="utf-8")
    with mpl.rc_context(STYLE):
        _save(_draw_convergence(done), docs / "cells-convergence.svg")
        _save(_draw_reach(done), docs / "cells-gradient.svg")
        _save(_draw_explosion(done), docs / "cells-explosion.svg")


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="svg", metadata={"Date": None})


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _costs(done: Results) -> str:
    if not {"training", "memory", "running"} <= done.keys():
        return ""
    rows = []
    gpu = any("cuda_bfloat16" in speeds for speeds in done["training"].values())
    for shape in shapes():
        speeds, memory, run = (done[name][shape] for name in ("training", "memory", "running"))
        rows.append(
            [
                *_names(shape),
                f"{speeds['cpu_float32']:.0f}",
                f"{speeds['cpu_bfloat16']:.0f}",
                *([f"{speeds['cuda_bfloat16']:.0f}"] if gpu else []),
                f"{memory['update'] / 1e6:.0f}",
                f"{memory['state']:,}",
                *(f"{1000 * run[precision]['factor']:.2f}" for precision in run),
                *(f"{run[precision]['bytes'] / 1e6:.2f}" for precision in run),
            ]
        )
    precisions = list(run)
    return _table(
        [
            *NAMES,
            "float32",
            "bfloat16",
            *(["GPU, bfloat16"] if gpu else []),
            "memory, MB",
            "state, bytes",
            *(f"{precision}, ms/s" for precision in precisions),
            *(f"{precision}, MB" for precision in precisions),
        ],
        rows,
    )


def _names(shape: str) -> list[str]:
    """What NAMES says of a shape."""
    cell, _, equal = shape.partition("-")
    encoder = shapes()[shape]
    recurrent = make_cell(cell, encoder.hidden, inputs="xavier", recurrent="orthogonal")
    of_cells = encoder.layers * sum(weight.numel() for weight in recurrent.parameters())
    equal = "" if shape == "gru-hidden" else equal.replace("hidden", "units")
    return [
        cell,
        equal,
        str(encoder.hidden),
        f"{parameters(encoder):,}",
        f"{of_cells:,}",
    ]


def _layers(done: Results) -> str:
    rows = [
        [
            layer["layer"],
            layer["precision"],
            f"{layer['milliseconds']:.0f}",
            f"{layer['calls']:,}",
            f"{layer['products']:,}",
            str(layer["fused"]),
        ]
        for layer in done.get("layers", [])
    ]
    return _table(["layer", "precision", "ms", "calls", "products", "calls for a sequence"], rows)


def _stacks(done: Results) -> str:
    rows = [
        [
            layer,
            f"{stack['float32']:.0f}",
            f"{stack['bfloat16']:.0f}",
            f"{stack['update'] / 1e6:.0f}",
        ]
        for layer, stack in done.get("stacks", {}).items()
    ]
    return _table(["layers", "float32", "bfloat16", "memory, MB"], rows)


def _final(run: Results) -> float:
    """Phone error rate after the last epoch; not a number for a run that failed."""
    return math.nan if "failed" in run or not run["errors"] else float(run["errors"][-1][1])


def _percent(value: float) -> str:
    return "diverged" if math.isnan(value) else f"{100 * value:.1f}"


def _errors(done: Results, seeds: int) -> str:
    rows = []
    for shape in shapes():
        runs = [run for name, run in done.items() if name.startswith(f"learn.{shape}.")]
        if not runs:
            continue
        errors = [_final(run) for run in runs]
        half = [run["errors"][len(run["errors"]) // 2 - 1][1] for run in runs if run["errors"]]
        rows.append(
            [
                *_names(shape),
                _percent(float(np.mean(half))),
                _percent(float(np.mean(errors))),
                ", ".join(_percent(error) for error in errors),
                f"{len(runs)} of {seeds}",
            ]
        )
    return _table(
        [*NAMES, "half way", "at the end", "each seed", "seeds"],
        rows,
    )


def _rates(done: Results) -> str:
    rows: dict[str, list[tuple[float, float]]] = {}
    for name, run in done.items():
        kind, _, rest = name.partition(".")
        if kind == "rate":
            shape = rest.partition(".")[0]
            first = [done[known] for known in (f"learn.{shape}.1",) if known in done]
            rows.setdefault(shape, [(one["learning_rate"], _final(one)) for one in first])
            rows[shape].append((run["learning_rate"], _final(run)))
    lines = [
        [shape.partition("-")[0], ", ".join(f"{r:g}: {_percent(e)}" for r, e in sorted(found))]
        for shape, found in rows.items()
    ]
    return _table(["cell", "learning rate: phone errors, %"], lines)


def _relative(reach: dict[str, list[float]]) -> np.ndarray:
    """Norm of the gradient 1, 2, ... frames back to that 1 frame back, of all states together."""
    norms = np.sqrt(sum(np.square(reach[name]) for name in reach))
    return np.asarray(norms / norms[0])


def _reach(done: Results) -> str:
    rows = []
    for cell in CELLS:
        for norm in ("norm", "bare"):
            for name in INITIALISATIONS:
                run = done.get(f"initialise.{cell}.{name}.{norm}")
                if run is None:
                    continue
                cells = [cell, name, "yes" if norm == "norm" else "no"]
                for when in ("reach_before", "reach_after"):
                    if when in run:
                        relative = _relative(run[when])
                        cells += [f"{relative[k - 1]:.0e}" for k in DISTANCES]
                    else:
                        cells += ["diverged"] * len(DISTANCES)
                rows.append([*cells, _percent(_final(run))])
    head = ["cell", "initialisation", "layer norm"]
    head += [f"{k}, {when}" for when in ("before", "after") for k in DISTANCES]
    return _table([*head, "phone errors, %"], rows)


def _explosion(done: Results) -> str:
    rows = []
    for name, run in done.items():
        if name.startswith("explode."):
            finite = [norm for norm in run["norm"] if math.isfinite(norm)]
            ended = not math.isfinite(run["norm"][-1] + run["loss"][-1])
            rows.append(
                [
                    run["cell"],
                    f"{run['rate']:g}",
                    run["clipping"],
                    f"{max(finite):.3g}",
                    f"not finite at step {len(run['norm'])}" if ended else f"{run['loss'][-1]:.2f}",
                ]
            )
    return _table(["cell", "learning rate", "clipping", "largest norm", "loss at the end"], rows)


def _draw_convergence(done: Results) -> Figure:
    figure = Figure((7, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for shape, encoder in shapes().items():
        runs = [r for n, r in done.items() if n.startswith(f"learn.{shape}.") and r["errors"]]
        if not runs:
            continue
        steps = [step for step, _ in runs[0]["errors"]]
        errors = 100 * np.array([[e for _, e in r["errors"]] for r in runs if "failed" not in r])
        panels = [left] * (encoder.hidden == REFERENCE.hidden)
        panels += [right] * (encoder.cell.startswith("gru") or not panels)
        for axes in panels:
            axes.plot(steps, errors.mean(0), color=COLOURS[encoder.cell], label=encoder.cell)
            axes.fill_between(
                steps, errors.min(0), errors.max(0), color=COLOURS[encoder.cell], alpha=0.2, lw=0
            )
    for axes, title in ((left, "equally many units"), (right, "equally many parameters")):
        axes.set(title=title, xlabel="updates")
    left.set_ylabel("phone errors on dev, %")
    left.legend()
    return figure


def _draw_reach(done: Results) -> Figure:
    figure = Figure((9, 4.6), layout="constrained")
    panels = figure.subplots(2, len(CELLS), sharex=True, sharey=True)
    for column, cell in zip(panels.T, CELLS, strict=True):
        for axes, when in zip(column, ("reach_before", "reach_after"), strict=True):
            _draw_cell_reach(axes, done, cell, when)
        column[0].set_title(cell)
        column[1].set_xlabel("frames of 40 ms back")
    panels[0, 0].set_ylabel("at initialisation")
    panels[1, 0].set_ylabel("after training")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def _draw_cell_reach(axes: Axes, done: Results, cell: str, when: str) -> None:
    axes.set_yscale("log")
    axes.set_ylim(FAINT, 1e6)
    for name in INITIALISATIONS:
        for norm, line in (("norm", "-"), ("bare", ":")):
            run = done.get(f"initialise.{cell}.{name}.{norm}", {})
            if when in run:
                relative = np.maximum(_relative(run[when]), FAINT / 10)
                label = f"{name}{'' if norm == 'norm' else ', no layer norm'}"
                axes.plot(
                    range(1, len(relative) + 1),
                    relative,
                    line,
                    color=SHADES[name],
                    lw=1,
                    label=label,
                )


def _draw_explosion(done: Results) -> Figure:
    rates = sorted({run["rate"] for name, run in done.items() if name.startswith("explode.")})
    figure = Figure((9, 0.6 + 2 * max(1, len(rates))), layout="constrained")
    panels = figure.subplots(
        max(1, len(rates)), len(CELLS), sharex=True, sharey=True, squeeze=False
    )
    for row, rate in zip(panels, rates, strict=False):
        for axes, cell in zip(row, CELLS, strict=True):
            axes.set_yscale("log")
            for clipping in CLIPPING:
                run = done.get(f"explode.{cell}.{rate}.{clipping}")
                if run:
                    norms = [min(norm, 1e12) for norm in run["norm"] if not math.isnan(norm)]
                    axes.plot(norms, color=CLIPS[clipping][0], lw=1, label=CLIPS[clipping][1])
            axes.set_title(f"{cell}, learning rate {rate:g}")
    for axes in panels[-1]:
        axes.set_xlabel("updates")
    for row in panels:
        row[0].set_ylabel("norm of the gradient")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
