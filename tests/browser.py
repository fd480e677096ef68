"""A real headless Chromium, spoken to over pipes, so that tests can look at a page as people do.

The DevTools protocol goes through two pipes (`--remote-debugging-pipe`): no port, no driver, no
library. What the page logs, asks the network for, or fails at is collected in `Page`.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Browser", "Page", "chromium", "open_browser"]

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_SECONDS = 60.0
NAMES = (
    "chromium-headless-shell",  # half the processor time of the others
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)
"""Commands that a browser may have, in the order in which they are looked for."""


def chromium() -> str:
    """Return the browser's path; without one, skip the test, or fail it where CI asks for that."""
    path = next((path for name in NAMES if (path := shutil.which(name))), None)
    if path is None:
        reason = "needs Chromium (apt-get install chromium)"
        if os.environ.get("PROXYHASH_REQUIRE_BROWSER"):
            pytest.fail(f"{reason}, and PROXYHASH_REQUIRE_BROWSER is set", pytrace=False)
        pytest.skip(reason)
    return path


@dataclass
class Page:
    """A page that was opened, and what happened on it."""

    browser: Browser
    session: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        result = self.browser.call(
            "Runtime.evaluate",
            self,
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """Show the page at a size in CSS pixels, to someone who prefers light or dark."""
        self.browser.call(
            "Emulation.setDeviceMetricsOverride",
            self,
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.browser.call("Emulation.setEmulatedMedia", self, features=[scheme])

    def screenshot(self, path: Path) -> None:
        """Write the whole page as PNG."""
        shot = self.browser.call("Page.captureScreenshot", self, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


class Browser:
    """Sends commands and sorts events to their pages; made by `open_browser`."""

    def __init__(self, commands: int, events: int) -> None:
        self._commands, self._events = commands, events
        self._buffer = b""
        self._last = 0
        self._pages: dict[str, Page] = {}

    def open(self, address: str) -> Page:
        """Open an address and wait until it is loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", page)
        self.call("Page.navigate", page, url=address)
        deadline = time.monotonic() + _SECONDS
        while page.evaluate("document.readyState") != "complete":
            assert time.monotonic() < deadline, f"{address} did not load"
            time.sleep(0.02)
        return page

    def call(self, method: str, page: Page | None = None, **parameters: Any) -> Any:
        """Send one command and return its result; events that come first are noted."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if page is not None:
            message["sessionId"] = page.session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer)

    def _read(self) -> Any:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._events], [], [], _SECONDS)
            chunk = os.read(self._events, 1 << 20) if ready else b""
            assert chunk, "the browser does not answer"
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event: Any) -> None:
        page = self._pages.get(event.get("sessionId", ""))
        if page is None:
            return
        parameters = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                page.requests.append(parameters["request"]["url"])
            case "Log.entryAdded":
                page.complaints.append(parameters["entry"]["text"])
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                page.complaints.append(json.dumps(parameters))


@contextmanager
def open_browser(executable: str, profile: Path) -> Iterator[Browser]:
    """Run a browser with an empty profile folder, and stop it at the end."""
    command_read, command_write = os.pipe()
    event_read, event_write = os.pipe()
    # The browser reads commands from descriptor 3 and writes events to 4; high numbers first, so
    # that neither is overwritten before it is moved.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (command_read, event_write)]

    def move() -> None:
        os.dup2(ends[0], 3)
        os.dup2(ends[1], 4)

    process = subprocess.Popen(
        [executable, *_FLAGS, f"--user-data-dir={profile}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=False,
        preexec_fn=move,  # noqa: PLW1509 -- two dup2 calls, which are safe beside threads
    )
    for end in (command_read, event_write, *ends):
        os.close(end)
    try:
        yield Browser(command_write, event_read)
    finally:
        os.close(command_write)  # the browser leaves when its pipe closes
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        os.close(event_read)
