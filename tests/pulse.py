"""A sound system of the test's own: PulseAudio with a null sink whose monitor is the microphone."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ALSA = """
pcm.!default { type pulse }
ctl.!default { type pulse }
"""


@dataclass(frozen=True)
class Pulse:
    """A running PulseAudio.

    Attributes:
        environment: in which programs find it, and it alone.
        server: its process.
    """

    environment: dict[str, str]
    server: subprocess.Popen[bytes]

    def play(self, path: Path) -> None:
        """Play a recording to its end into the microphone."""
        subprocess.run(
            ["paplay", "--device=speaker", str(path)], env=self.environment, check=True, timeout=60
        )

    def unplug(self) -> None:
        self.server.kill()
        self.server.wait()


@contextmanager
def pulse(folder: Path) -> Iterator[Pulse]:
    """Run PulseAudio in a folder."""
    for program in ("pulseaudio", "paplay"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    (folder / ".asoundrc").write_text(ALSA)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PULSE_")},
        "HOME": str(folder),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        "XDG_RUNTIME_DIR": str(runtime),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "PULSE_SERVER": f"unix:{runtime}/pulse/native",
    }
    server = subprocess.Popen(
        [
            "pulseaudio",
            "-n",
            "--daemonize=no",
            "--use-pid-file=no",
            "--exit-idle-time=-1",
            "--load=module-null-sink sink_name=speaker rate=48000 channels=2",
            f"--load=module-native-protocol-unix auth-anonymous=1 socket={runtime}/pulse/native",
        ],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            if (runtime / "pulse" / "native").exists():
                break
            time.sleep(0.1)
        else:
            raise TimeoutError("PulseAudio did not start within 10 s")
        yield Pulse(environment, server)
    finally:
        server.kill()
        server.wait()
