"""A headless Chromium, controlled by its DevTools protocol over a pipe, to test pages."""

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)

_SECONDS = 60


class Page:
    """A page in the browser; `requests` are the addresses that it asked for."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        self._rest, self._number, self._session = b"", 0, ""
        self.requests: list[str] = []
        self._loaded = False
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Network", "Runtime"):
            self._ask(f"{domain}.enable")

    def open(self, path: Path, width: int, scheme: str) -> None:
        """Load a file in a window of this width, with the colours of a light or dark desktop."""
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=800,
                  deviceScaleFactor=1, mobile=False)  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._ask("Emulation.setEmulatedMedia", features=features)
        self._loaded = False
        self._ask("Page.navigate", url=path.absolute().as_uri())
        while not self._loaded:
            self._receive()

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        found = self._ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def screenshot(self) -> bytes:
        """The whole page as PNG."""
        found = self._ask("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(found["data"])

    def _ask(self, method: str, **params: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                return answer["result"]

    def _receive(self) -> Any:
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._reading], [], [], max(0, end - time.monotonic()))
            data = os.read(self._reading, 1 << 20) if ready else b""
            assert data, "the browser does not answer"
            self._rest += data
        text, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(text)
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        if message.get("method") == "Page.loadEventFired":
            self._loaded = True
        return message


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A browser with its own profile, which ends with the block."""
    assert PROGRAM
    ours, theirs = os.pipe(), os.pipe()
    high = [os.dup(fd) for fd in (ours[0], theirs[1])]
    command = (
        f'exec "$0" --headless --no-sandbox --disable-gpu --remote-debugging-pipe '
        f'--user-data-dir="$1" --disable-background-networking --no-first-run '
        f"3<&{high[0]} 4>&{high[1]}"
    )
    process = subprocess.Popen(
        ["bash", "-c", command, PROGRAM, str(profile)],
        pass_fds=high,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    for fd in (*high, ours[0], theirs[1]):
        os.close(fd)
    try:
        yield Page(theirs[0], ours[1])
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for fd in (theirs[0], ours[1]):
            os.close(fd)
