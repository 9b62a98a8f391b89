"""Headless Chromium, over its DevTools protocol, and a plain server for its pages."""

import contextlib
import functools
import itertools
import json
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PATIENCE = 120
"""Seconds until what does not happen is an error."""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[str]:
    """A server without any particular headers; gives its address."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


class Tab:
    """A page that is open."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._numbers = socket, itertools.count()

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE))
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                result: dict[str, Any] = message["result"]
                return result

    def value(self, expression: str) -> Any:
        """What an expression is; a promise is waited for."""
        result = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until an expression is true."""
        until = time.monotonic() + PATIENCE
        while not self.value(f"Boolean({expression})"):
            assert time.monotonic() < until, f"never: {expression}; {self.text('body')}"
            time.sleep(0.1)

    def open(self, address: str) -> None:
        """Go to a page, from none, so that it is not the one that was there before."""
        for url in ("about:blank", address):
            self.send("Page.navigate", url=url)
            self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def text(self, selector: str) -> str:
        """What an element says, as it is seen."""
        return str(self.value(f"document.querySelector({json.dumps(selector)}).innerText"))

    def texts(self, selector: str) -> list[str]:
        """What each of some elements says."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})]"
        return list(self.value(f"{found}.map((element) => element.textContent)"))

    def click(self, selector: str) -> None:
        """Press the left button in the middle of an element."""
        x, y = self._middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def drop(self, path: Path, selector: str) -> None:
        """Drop a file on an element."""
        x, y = self._middle(selector)
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.send("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def _middle(self, selector: str) -> tuple[float, float]:
        found = f"document.querySelector({json.dumps(selector)})"
        self.value(f"{found}.scrollIntoView({{block: 'center'}})")
        middle = "({x, y, width, height}) => [x + width / 2, y + height / 2]"
        x, y = self.value(f"({middle})({found}.getBoundingClientRect())")
        return x, y


@contextlib.contextmanager
def chromium(*options: str) -> Iterator[Tab]:
    """A browser with nothing in it, and its one page."""
    program = shutil.which("chromium")
    assert program, "Chromium is missing; scripts/system_packages.sh installs it"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        always = (
            "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--remote-debugging-port=0", f"--user-data-dir={profile}",
        )  # fmt: skip
        browser = subprocess.Popen(
            [program, *always, *options, "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with connect(_address(Path(profile)), max_size=None) as socket:
                yield Tab(socket)
        finally:
            browser.terminate()
            browser.wait()


def _address(profile: Path) -> str:
    """Where the page listens; the browser writes its port into a file."""
    until = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError, IndexError):
            port = (profile / "DevToolsActivePort").read_text().splitlines()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                for target in json.load(answer):
                    if target["type"] == "page":
                        return str(target["webSocketDebuggerUrl"])
        assert time.monotonic() < until, "Chromium does not start"
        time.sleep(0.05)
