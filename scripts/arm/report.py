"""What `scripts/arm_proof.sh` found out, from the files in its folder.

    python report.py FOLDER

Ends with 1 if a word was another one on ARM.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from asr.cli.demo import CLIP


@dataclass(frozen=True)
class Board:
    """A computer that Rill is to run on.

    Attributes:
        name: with its processor and clock.
        clock: cycles per second.
        slow: instructions per cycle of a program that waits for memory.
        fast: of one that seldom does.

    Instructions per cycle are those of 7-Zip's benchmark on one core, packing and unpacking with a
    dictionary of 4 MB: its rating, which is in millions of instructions per second, over the clock.
    github.com/ThomasKaiser/sbc-bench has results/3InF.txt (a Raspberry Pi 4 at 1.8 GHz: 1643 and
    1940) and results/4Hd0.txt (a Cortex-A53 at 1.51 GHz: 908 and 1438).
    """

    name: str
    clock: float
    slow: float
    fast: float


CORTEX_A72 = 1643 / 1800, 1940 / 1800
CORTEX_A53 = 908 / 1510, 1438 / 1510
BOARDS = (
    Board("Raspberry Pi 4, Cortex-A72, 1.8 GHz", 1.8e9, *CORTEX_A72),
    Board("Raspberry Pi 4, Cortex-A72, 1.5 GHz", 1.5e9, *CORTEX_A72),
    Board("Raspberry Pi Zero 2 W, Cortex-A53, 1.0 GHz", 1.0e9, *CORTEX_A53),
)
WAYS = {
    "compiled": "words, search and operators compiled",
    "uncompiled": "words, search in numpy, operators of onnxruntime",
    "bare": "phones, no search graph",
}


def same_words(folder: Path) -> bool:
    """Print where the words of ARM differ from those of this machine; whether they never do."""
    here, *there = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("here", "cortex-a72", "max")
    )
    same = True
    for name, want in here["words"].items():
        for machine in there:
            if (got := machine["words"][name]) != want:
                same = False
                print(f"{name}: {want!r} here, {got!r} on ARM")
    said = "the same words" if same else "other words"
    count = sum(len(text.split()) for text in here["words"].values())
    arm = there[0]
    print(f"{said} in {len(here['words'])} recordings, {here['seconds']:.0f} s, {count} words")
    print(", ".join(f"{key} {arm[key]}" for key in ("machine", "python", "numpy", "onnxruntime")))
    for each in (here, *there):
        print(*(f"{key} {each[key]}" for key in ("machine", "precision", "operators", "search")))
    return same


def memory(folder: Path) -> None:
    """Print what is in memory."""
    first = json.loads((folder / "first.json").read_text())["loaded_bytes"] / 1e6
    print(f"resident after the first start, which unpacks the search graph: {first:.0f} MB")
    for name in ("cortex-a72", "bare"):
        arm = json.loads((folder / f"{name}.json").read_text())
        loaded, resident = (arm[f"{when}_bytes"] / 1e6 for when in ("loaded", "resident"))
        graph = "with" if name == "cortex-a72" else "without"
        print(
            f"resident {graph} search graph: {loaded:.0f} MB loaded, {resident:.0f} MB at the end"
        )


def speed(folder: Path) -> None:
    """Print instructions and estimates: the work for two more of the same clip, and the rest."""
    arm = json.loads((folder / "cortex-a72.json").read_text())
    seconds = arm["seconds_of"][CLIP.name]
    for way, name in WAYS.items():
        one, three = (int((folder / f"{way}-{n}.count").read_text()) for n in (1, 3))
        rate = (three - one) / (2 * seconds)
        start = one - rate * seconds
        print(
            f"{name}: {rate / 1e6:.0f} million instructions for a second of audio, "
            f"{start / 1e6:.0f} million to start"
        )
        for board in BOARDS:
            paces = [board.clock * each for each in (board.fast, board.slow)]
            factors, starts = ([work / pace for pace in paces] for work in (rate, start))
            print(
                f"    {board.name}, an estimate: real-time factor {factors[0]:.3f} to "
                f"{factors[1]:.3f}, start {starts[0]:.1f} to {starts[1]:.1f} s"
            )


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    same = same_words(folder)
    memory(folder)
    speed(folder)
    sys.exit(not same)
