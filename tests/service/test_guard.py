"""The process that starts a service again, with real processes that crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.service.conftest import Built, Server, running

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

CRASHING = """
import os, signal, sys
from proxyhash.service.guard import guard
times = []
first = guard(tries=4, wait=lambda seconds: print("waits", seconds, flush=True))
print("first" if first else "again", flush=True)
os.kill(os.getpid(), signal.SIGSEGV)
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )


def test_it_gives_up_on_what_crashes_at_every_start() -> None:
    done = run(CRASHING)
    assert done.returncode == 1
    assert done.stdout.split("\n")[:-1] == [
        "first", "waits 0.5", "again", "waits 1.0", "again", "waits 2.0", "again",
    ]  # fmt: skip
    assert "the service crashed" in done.stderr


@pytest.mark.parametrize("code", [0, 3])
def test_it_exits_as_the_service_does(code: int) -> None:
    script = CRASHING.replace("os.kill(os.getpid(), signal.SIGSEGV)", f"sys.exit({code})")
    done = run(script)
    assert (done.returncode, done.stdout) == (code, "first\n")


def child_of(process: int) -> int | None:
    names = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8").split()
    return int(names[0]) if names else None


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def search(server: Server) -> int:
    query = {"text": "a duck and a boat", "k": 3}
    return httpx.post(server.url + "/v1/search", json=query, timeout=90).status_code


def test_a_service_that_crashes_is_started_again_at_the_same_address(built: Built) -> None:
    with running(built.index, "--guard") as server:
        assert search(server) == 200
        before = child_of(server.process.pid)
        assert before is not None
        os.kill(before, signal.SIGBUS)
        until(lambda: child_of(server.process.pid) not in (None, before))
        assert search(server) == 200  # who asks meanwhile waits
        (line,) = [line for line in server.lines if line["message"] == "the service crashed"]
        assert (line["signal"], "index verify" in line["reason"]) == ("SIGBUS", True)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: any(line["message"] == "reloaded" for line in server.lines))
        after = child_of(server.process.pid)
        server.process.terminate()
        assert server.process.wait(60) == 0
        assert not Path(f"/proc/{after}").exists()
