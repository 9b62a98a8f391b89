"""What an exported page costs in headless Chromium: its loading, and a recording.

    python -m scripts.web_speed PAGE RECORDING

Prints the CPU time of all processes of the browser, which other work on the machine does not
change much, and the time on the clock. The second time is that of a browser that knows the page.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.export.browser import Tab, chromium, serving

STATUS = "document.querySelector('#status').textContent"
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """CPU time of all processes that descend from this one."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            values = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        pid = int(path.parent.name)
        parents[pid], ticks[pid] = int(values[1]), int(values[11]) + int(values[12])
    total, found = 0, {os.getpid()}
    while found:
        found = {pid for pid, parent in parents.items() if parent in found}
        total += sum(ticks[pid] for pid in found)
    return total / TICKS


@contextmanager
def measured(what: str) -> Iterator[None]:
    """Prints what happens within."""
    cpu, clock = cpu_seconds(), time.perf_counter()
    yield
    print(f"{what}: {cpu_seconds() - cpu:.2f} s CPU, {time.perf_counter() - clock:.1f} s")


def measure(tab: Tab, address: str, recording: Path) -> None:
    """Load the page, and drop the recording on it."""
    tab.open("about:blank")
    with measured("loading"):
        tab.open(address)
        tab.wait("!document.querySelector('#record').disabled")
    for _ in range(2):
        with measured(recording.name):
            tab.drop(recording, "main")
            tab.wait(f"{STATUS}.startsWith('Ready. It took')")
        print(tab.value(STATUS))
        tab.value(f"{STATUS} = ''")


if __name__ == "__main__":
    page, recording = map(Path, sys.argv[1:])
    with serving(page) as address, chromium() as tab:
        for _ in range(2):
            measure(tab, address, recording.resolve())
