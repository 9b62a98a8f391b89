"""Speed, start-up and memory of a model folder, beside pocketsphinx on the same clips.

python scripts/benchmark.py models/en-small ../shared/speech

Every figure is taken on one thread, in a process of its own, rounds of the systems one after the
other; what is printed is the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
RATE = 16_000
CHUNKS = (40, 160, 640, None)
"""Milliseconds pushed at once; None for whole files."""
SOURCES = ("librispeech", "speechocean762", "commonvoice")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("speech", type=Path, help="folder with dev.jsonl and its tar shard")
    parser.add_argument("--clips", type=int, default=30, help="clips of each source")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        arguments = json.loads(options.measure)
        print(json.dumps(MEASURES[arguments.pop("what")](options, **arguments)))
        return
    speed(options)
    footprint(options)


def run(options: argparse.Namespace, what: str, **arguments: Any) -> dict[str, Any]:
    """Measure in a fresh process."""
    command = [sys.executable, __file__, str(options.model), str(options.speech)]
    command += ["--clips", str(options.clips)]
    command += ["--measure", json.dumps({"what": what, **arguments})]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def speed(options: argparse.Namespace) -> None:
    """Real-time factors and error rates, Rill's and pocketsphinx's."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for _ in range(options.rounds):
        for chunk in CHUNKS:
            name = f"Rill, {chunk} ms chunks" if chunk else "Rill, whole files"
            rows.setdefault(name, []).append(run(options, "rill", chunk=chunk))
        rows.setdefault("pocketsphinx, whole files", []).append(run(options, "pocketsphinx"))
    print("| system | real-time factor | CPU s per audio s | ms per chunk, median | 99 % |", end="")
    print(" word errors | " + " | ".join(SOURCES) + " |")
    print("|---|" + "---|" * (5 + len(SOURCES)))
    for name, rounds in rows.items():
        median = {
            key: statistics.median(one[key] for one in rounds)
            for key in ("wall", "cpu", "chunk_median", "chunk_worst")
        }
        errors = " | ".join(f"{rounds[0]['errors'][source]:.1%}" for source in ("all", *SOURCES))
        print(
            f"| {name} | {median['wall']:.4f} | {median['cpu']:.4f} | "
            f"{median['chunk_median']:.2f} | {median['chunk_worst']:.2f} | {errors} |"
        )


def footprint(options: argparse.Namespace) -> None:
    """Seconds to load, and memory while streaming."""
    print("\n| | import asr, s | load, s | both, s | resident while streaming, MB |")
    print("|---|---|---|---|---|")
    for name, graph in (("with the dictation graph", "dictation"), ("without a graph", None)):
        rounds = [run(options, "footprint", graph=graph) for _ in range(options.rounds)]
        median = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        print(
            f"| {name} | {median['imported']:.2f} | {median['loaded']:.2f} | "
            f"{median['imported'] + median['loaded']:.2f} | {median['resident']:.0f} |"
        )


def clips(options: argparse.Namespace) -> list[tuple[dict[str, Any], Any]]:
    """Manifest lines of dev with their samples."""
    import numpy as np

    from asr.audio import read

    manifest = (options.speech / "dev.jsonl").read_text(encoding="utf-8").splitlines()
    lines = [json.loads(line) for line in manifest]
    chosen = [
        line
        for source in SOURCES
        for line in [line for line in lines if line["source"] == source][: options.clips]
    ]
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(options.speech / "dev-00.tar") as archive:
            archive.extractall(folder, filter="data")
        paths = [Path(folder) / f"{line['id']}.opus" for line in chosen]
        audio = [np.concatenate(list(read(path, RATE))) for path in paths]
    return list(zip(chosen, audio, strict=True))


def measure_rill(options: argparse.Namespace, chunk: int | None) -> dict[str, Any]:
    """Stream every clip in chunks."""
    import asr

    recognizer = asr.load(options.model)

    def transcribe(samples: Any, times: list[float]) -> str:
        stream = recognizer.stream()
        size = chunk * RATE // 1000 if chunk else len(samples)
        events = []
        for begin in range(0, len(samples), size):
            start = time.perf_counter()
            events += stream.push(samples[begin : begin + size], RATE)
            times.append(time.perf_counter() - start)
        events += stream.flush()
        return " ".join(e.segment.text for e in events if isinstance(e, asr.Final))

    return timed(clips(options), transcribe)


def measure_pocketsphinx(options: argparse.Namespace) -> dict[str, Any]:
    """Decode every clip with the model that comes in pocketsphinx's package."""
    import numpy as np
    import pocketsphinx

    decoder = pocketsphinx.Decoder(samprate=RATE, loglevel="FATAL")

    def transcribe(samples: Any, times: list[float]) -> str:
        start = time.perf_counter()
        decoder.start_utt()
        pcm = (np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes()
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()
        times.append(time.perf_counter() - start)
        return decoder.hyp().hypstr if decoder.hyp() else ""

    return timed(clips(options), transcribe)


def timed(pairs: list[tuple[dict[str, Any], Any]], transcribe: Any) -> dict[str, Any]:
    """Wall clock and CPU time per second of audio, times per chunk in ms, error rates."""
    import jiwer

    transcribe(pairs[0][1], [])
    times: list[float] = []
    wall, cpu = time.perf_counter(), time.process_time()
    heard = [transcribe(samples, times) for _, samples in pairs]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    seconds = sum(len(samples) for _, samples in pairs) / RATE
    errors = {}
    for source in ("all", *SOURCES):
        both = [
            (line["text"], text)
            for (line, _), text in zip(pairs, heard, strict=True)
            if source in ("all", line["source"])
        ]
        errors[source] = jiwer.wer(*map(list, zip(*both, strict=True)))
    times.sort()
    return {
        "wall": wall / seconds,
        "cpu": cpu / seconds,
        "chunk_median": 1000 * statistics.median(times),
        "chunk_worst": 1000 * times[int(0.99 * (len(times) - 1))],
        "errors": errors,
    }


def measure_footprint(options: argparse.Namespace, graph: str | None) -> dict[str, float]:
    """Start as a program would, then stream a minute of noise."""
    begin = time.perf_counter()
    import asr

    imported = time.perf_counter()
    recognizer = asr.load(options.model, graph=graph)
    loaded = time.perf_counter()
    import numpy as np

    rng = np.random.default_rng(0)
    stream = recognizer.stream()
    for _ in range(375):
        stream.push(0.1 * rng.standard_normal(2560, np.float32), RATE)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return {
        "imported": imported - begin,
        "loaded": loaded - imported,
        "resident": int(resident.split()[1]) / 1024,
    }


MEASURES = {
    "rill": measure_rill,
    "pocketsphinx": measure_pocketsphinx,
    "footprint": measure_footprint,
}

if __name__ == "__main__":
    main()
