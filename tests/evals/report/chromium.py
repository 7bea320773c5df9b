"""Drives a page in headless Chromium over its DevTools protocol: what the tests and the screenshots
of the docs need, and no more.
"""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--disable-extensions", "--mute-audio"),
    *("--remote-debugging-port=0", "--hide-scrollbars", "--force-color-profile=srgb"),
)
DEADLINE_S = 30.0


def found() -> str | None:
    """The path of an installed Chromium."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page. `errors` holds what it threw and what its policy refused."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._ids = socket, itertools.count(1)
        self.errors: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol and its result."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=DEADLINE_S))
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def goto(self, url: str) -> None:
        """Opens an address and waits until it is loaded."""
        self.call("Page.navigate", url=url)
        here = json.dumps(url.partition("#")[0])
        self.until(f"location.href.split('#')[0] === {here} && document.readyState === 'complete'")

    def js(self, code: str) -> Any:
        """The value of an expression; a promise is awaited."""
        told = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise RuntimeError(json.dumps(told["exceptionDetails"])[:2000])
        return told["result"].get("value")

    def until(self, code: str) -> Any:
        """Waits until an expression is true. Raises: TimeoutError."""
        end = time.monotonic() + DEADLINE_S
        while not (value := self.js(code)):
            if time.monotonic() > end:
                raise TimeoutError(f"{code}; the page said: {self.errors}")
            time.sleep(0.02)
        return value

    def press(self, key: str) -> None:
        """One key, as from a keyboard."""
        text = {"text": key} if len(key) == 1 else {}
        code = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowUp": 38, "ArrowDown": 40}.get(key)
        given: dict[str, Any] = {"key": key, **text}
        if code is not None:
            given["windowsVirtualKeyCode"] = code
        self.call("Input.dispatchKeyEvent", type="keyDown", **given)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def show(self, width: int, height: int, *, dark: bool = False, scale: float = 1) -> None:
        """The window's size and the reader's preference for dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 700,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, *, whole: bool = False) -> bytes:
        """A PNG of what is seen, or of the whole page."""
        told = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(told["data"])

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"])[:1000])
        elif message.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(str(params["entry"]["text"])[:1000])
        elif message.get("method") == "Network.requestWillBeSent":
            self.requests.append(str(params["request"]["url"]))


@contextmanager
def chromium() -> Iterator[Page]:
    """A fresh page of a Chromium of its own, which ends with the block."""
    from websockets.sync.client import connect

    path = found()
    assert path is not None, "no Chromium"
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [path, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            address = _address(Path(profile), process)
            with connect(address, max_size=None, open_timeout=DEADLINE_S) as socket:
                yield Page(socket)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """The socket of the one open page."""
    import urllib.request

    told = profile / "DevToolsActivePort"
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end and process.poll() is None:
        lines = told.read_text().split("\n") if told.is_file() else []
        if len(lines) > 1:
            with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json") as reply:
                pages = [page for page in json.load(reply) if page["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.05)
    raise RuntimeError(f"Chromium did not start (it ended with {process.poll()})")
