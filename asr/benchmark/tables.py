"""What was measured, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime

import asr
from asr.operators import KERNELS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asr.benchmark.clips import Clip
    from asr.benchmark.measure import BatchRow, Plan, Row

Columns = dict[str, list[str]]
"""Cells by heading; the first column names the rows."""

MISSING = "–"  # noqa: RUF001


def columns(rows: Sequence[Row], plan: Plan) -> Columns:
    """A table of systems; what none of them has is left out."""
    compared = {row.chunk_ms: row for row in rows if row.system == "rill"}

    def column(value: Callable[[Row], float | None], form: str, unit: float = 1) -> list[str]:
        values = map(value, rows)
        return [MISSING if one is None else format(one / unit, form) for one in values]

    def ratio(value: Callable[[Row], float | None]) -> Callable[[Row], float | None]:
        def to_rill(row: Row) -> float | None:
            mine, own = value(compared[row.chunk_ms]), value(row)
            return own / mine if own is not None and mine else None

        return to_rill

    table = {
        "system": [f"{row.system} {row.precision or ''}".rstrip() for row in rows],
        "chunks": [chunk_name(row.chunk_ms) for row in rows],
        "real-time factor": column(lambda r: r.real_time_factor, ".4f"),
        "CPU s per audio s": column(lambda r: r.cpu, ".4f"),
        "acoustic": column(lambda r: r.parts.get("acoustic"), ".4f"),
        "search": column(lambda r: r.parts.get("search"), ".4f"),
        "ms per chunk": column(lambda r: r.chunk_median, ".2f", 1e-3),
        "99 %": column(lambda r: r.chunk_99, ".2f", 1e-3),
        f"M instructions per audio s, by {plan.instructions}": column(
            lambda r: r.instructions, ".0f", 1e6
        ),
        "start-up, s": column(lambda r: r.start_up, ".2f"),
        "CPU s of it": column(lambda r: r.start_up_cpu, ".2f"),
        "peak, MB": column(lambda r: r.peak, ".0f", 1 << 20),
        "at the end, MB": column(lambda r: r.resident, ".0f", 1 << 20),
        "of it private": column(lambda r: r.private, ".0f", 1 << 20),
        "KB per further stream": column(lambda r: r.stream, ".0f", 1 << 10),
        "word errors": column(_error_rate, ".1%"),
    }
    if len({(row.system, row.precision) for row in rows}) > 1:
        table["CPU to Rill's"] = column(ratio(lambda r: r.cpu), ".2f")
        table["errors to Rill's"] = column(ratio(_error_rate), ".2f")
    return {name: cells for name, cells in table.items() if set(cells) != {MISSING}}


def batch_columns(rows: Sequence[BatchRow]) -> Columns:
    """A table of batches."""
    return {
        "streams": [str(row.streams) for row in rows],
        "model": [f"{row.precision} on {row.device}" for row in rows],
        "chunks": [chunk_name(row.chunk_ms) for row in rows],
        "ms per step": [f"{row.step_median * 1e3:.2f}" for row in rows],
        "99 %": [f"{row.step_99 * 1e3:.2f}" for row in rows],
        "audio s per s": [f"{row.speed:.0f}" for row in rows],
        "CPU s per audio s": [f"{row.cpu:.5f}" for row in rows],
    }


def chunk_name(chunk_ms: int | None) -> str:
    """How a length of chunks is called."""
    return "whole" if chunk_ms is None else f"{chunk_ms} ms"


def _error_rate(row: Row) -> float | None:
    return row.errors.rate if row.errors and row.errors.length else None


def to_json(plan: Plan, clips: Sequence[Clip], rate: int, rows: Sequence[Row | BatchRow]) -> str:
    """Conditions and figures; seconds, bytes and shares."""
    facts = {
        "rill": asr.__version__,
        "onnxruntime": onnxruntime.__version__,
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "kernel": next(iter(KERNELS), None),
        },
        "plan": {**asdict(plan), "model": str(plan.model)},
        "clips": {
            "count": len(clips),
            "seconds": sum(len(clip.samples) for clip in clips) / rate,
            "words": sum(len((clip.text or "").split()) for clip in clips),
        },
        "rows": [_facts(row) for row in rows],
    }
    return json.dumps(facts, ensure_ascii=False, indent=1) + "\n"


def _facts(row: Row | BatchRow) -> dict[str, Any]:
    facts = asdict(row)
    if facts.get("errors"):
        facts["errors"]["rate"] = _error_rate(row)  # type: ignore[arg-type]
    return facts


def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        known = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        known = []
    names = [line.partition(":")[2].strip() for line in known if line.startswith("model name")]
    return names[0] if names else platform.machine()
