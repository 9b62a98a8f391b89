"""Recurrent cells side by side: cost, learning, vanishing and exploding gradients.

python scripts/compare_cells.py data/train.jsonl.gz data/dev.jsonl.gz

Every run leaves a JSON file in OUTPUT/results and is not done again; delete a file to repeat it. At
the end, and with `--report` at any time, the tables of docs/cells.md and its figures are written
from what is there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from cells import speed
from cells.gradients import CLIPPING, explode
from cells.learning import initialised, learn
from cells.report import write
from cells.setting import CELLS, INITIALISATIONS, REFERENCE, Setting, shapes

DOCS = Path(__file__).parents[1] / "docs"
EXPLOSIVE = (0.1, 0.3)
"""Learning rates of plain gradient descent that are too high."""
RATES = (0.001, 0.01)
"""Learning rates beside the one that all runs have."""

Work = Callable[[], Any]


def main() -> None:
    """Do what is not done yet, then write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train", type=Path, help="manifest of `asr prepare`")
    parser.add_argument("dev", type=Path, help="the same, of other speakers")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/cells"))
    parser.add_argument("--docs", type=Path, default=DOCS, help="where cells.md is")
    parser.add_argument("--report", action="store_true", help="only write the report")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    setting = Setting(arguments.output)
    tasks = all_tasks(setting)
    results = setting.folder / "results"
    if not arguments.report:
        setting.choose(arguments.train, arguments.dev)
        results.mkdir(exist_ok=True)
        for number, (name, work) in enumerate(tasks.items(), 1):
            _do(results / f"{name}.json", work, f"{number}/{len(tasks)} {name}")
    done = {
        name: json.loads((results / f"{name}.json").read_text())
        for name in tasks
        if (results / f"{name}.json").exists()
    }
    write(done, len(tasks), setting, arguments.docs)


def _do(path: Path, work: Work, label: str) -> None:
    if path.exists():
        return
    began, cpu = time.monotonic(), time.process_time()
    result = work()
    new = path.with_suffix(".new")
    new.write_text(json.dumps(result))
    new.replace(path)
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    print(f"{label}: {seconds:.0f} s, {cpu:.0f} s of CPU time", flush=True)


def all_tasks(setting: Setting) -> dict[str, Work]:
    """Everything there is to do, by name; the first of each kind come first."""
    tasks: dict[str, Work] = {
        "layers": speed.layers,
        "stacks": speed.stacks,
        "training": speed.training,
        "memory": speed.memory,
        "running": speed.running,
    }
    for cell in CELLS:
        encoder = shapes()[f"{cell}-hidden"]
        for rate in EXPLOSIVE:
            for clipping in CLIPPING:
                tasks[f"explode.{cell}.{rate}.{clipping}"] = partial(
                    explode, setting, encoder, clipping, rate
                )
    for seed in setting.seeds:
        for shape, encoder in shapes().items():
            tasks[f"learn.{shape}.{seed}"] = partial(learn, setting, encoder, seed)
        if seed == setting.seeds[0]:
            tasks |= _initialisations(setting)
    for rate in RATES:
        for shape, encoder in shapes().items():
            if encoder.cell == REFERENCE.cell or not shape.endswith("hidden"):
                tasks[f"rate.{shape}.{rate}"] = partial(
                    learn, setting, encoder, setting.seeds[0], rate=rate
                )
    return tasks


def _initialisations(setting: Setting) -> dict[str, Work]:
    """Every cell with every initialisation, with and without layer norm."""
    return {
        f"initialise.{cell}.{name}.{'norm' if norm else 'bare'}": partial(
            learn,
            setting,
            initialised(shapes()[f"{cell}-hidden"], name),
            setting.seeds[0],
            norm=norm,
        )
        for norm in (True, False)
        for name in INITIALISATIONS
        for cell in CELLS
    }


if __name__ == "__main__":
    main()
