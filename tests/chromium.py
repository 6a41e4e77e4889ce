"""A real headless Chromium, driven over its own pipe: what it asks for, what it complains of, what it draws."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe"),
]
# What is inside the page itself is no request.
_INSIDE = ("data:", "blob:", "about:")
_PATIENCE = 30.0


class Chromium:
    """One browser with one page. `requests` and `complaints` grow while it is used."""

    def __init__(self, home: Path) -> None:
        assert PROGRAM is not None
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._buffer, self._number, self._session = b"", 0, ""

        def pipes() -> None:
            # The browser reads its orders from 3, and answers on 4.
            orders, answers = os.dup(to_read), os.dup(to_write)
            os.dup2(orders, 3)
            os.dup2(answers, 4)

        command = [PROGRAM, *_FLAGS, f"--user-data-dir={home}"]
        quiet: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
        }
        self._process = subprocess.Popen(command, preexec_fn=pipes, close_fds=False, **quiet)  # noqa: PLW1509
        os.close(to_read)
        os.close(to_write)

    def __enter__(self) -> Self:
        target = self.order("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.order("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.order(f"{domain}.enable")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._out)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)

    def show(self, page: Path, *, width: int = 1100, height: int = 900, scheme: str = "light") -> None:
        """Open a page in a window of this size, and wait until it says that it is drawn."""
        self.dress(width=width, height=height, scheme=scheme)
        self.order("Page.navigate", url=page.as_uri())
        self.wait_for("document.readyState === 'complete' && document.documentElement.dataset.drawn !== undefined")

    def dress(self, *, width: int, height: int, scheme: str) -> None:
        """Set the size of the window, and whether its user likes it dark."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.order("Emulation.setDeviceMetricsOverride", **metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.order("Emulation.setEmulatedMedia", features=features)

    def wait_for(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        ends = time.monotonic() + _PATIENCE
        while self.ask(condition) is not True:
            assert time.monotonic() < ends, (condition, self.complaints)

    def ask(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        told = self.order("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def picture(self, path: Path) -> None:
        """Save a picture of the whole page."""
        told = self.order("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        path.write_bytes(base64.b64decode(told["data"]))

    def order(self, method: str, **params: Any) -> dict[str, Any]:
        """Give an order, and return its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        ends = time.monotonic() + _PATIENCE
        while True:
            told = self._next(ends)
            if told.get("id") == self._number:
                assert "error" not in told, told
                return dict(told["result"])
            self._note(told)

    def _next(self, ends: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(ends - time.monotonic(), 0))
            read = os.read(self._in, 1 << 20) if ready else b""
            assert read, "the browser says nothing"
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    def _note(self, told: dict[str, Any]) -> None:
        params = told.get("params", {})
        match told.get("method"):
            case "Network.requestWillBeSent" if not params["request"]["url"].startswith(_INSIDE):
                self.requests.append(params["request"]["url"])
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.complaints.append(params["entry"]["text"])
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.complaints.append(str(params["args"]))
            case "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"]))
