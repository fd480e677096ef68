"""A real Milvus server for tests: installed once into a cache, started and killed at will.

The package `milvus` carries the server of Milvus 2.3.5. Its pins do not go with ours, so it has a
virtual environment of its own. Nothing leaves this machine but pip's download.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxyhash.errors import ProxyhashError
from proxyhash.index.milvus.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Server", "install_server", "running_server"]

VERSION = "2.3.5"
CACHE = Path(__file__).parents[3] / ".cache" / f"milvus-{VERSION}"
PORTS = (
    "etcd",
    "root-coord",
    "proxy",
    "proxy-internal",
    "query-coord",
    "query-node",
    "index-coord",
    "index-node",
    "data-coord",
    "data-node",
)
SETTINGS = ("common.session.ttl=10", "proxy.timeTickInterval=20")
"""Seconds until sessions of a server after kill -9 expire, which the next one waits for, and the
milliseconds between ticks, which every read that is "Strong" waits for."""
START_SECONDS = 180


class Server:
    """One server with one data folder, on ports of 127.0.0.1 that were free."""

    def __init__(self, folder: Path, program: Path, *, settings: Sequence[str] = SETTINGS) -> None:
        self._folder = folder
        self._settings = settings
        self._program = program
        *ports, self._metrics = _free_ports(len(PORTS) + 1)
        self._ports = dict(zip(PORTS, ports, strict=True))
        self._process: subprocess.Popen[bytes] | None = None
        self.uri = f"http://127.0.0.1:{self._ports['proxy']}"

    def start(self) -> None:
        """Start the server, or start it again, and wait until it answers."""
        data = self._folder / "data"
        if (data / "configs" / "milvus.yaml").exists():
            # Not by the program: a port where connections were cut counts as taken to it for a
            # while, and it would choose another one.
            command = [data / "bin" / "milvus", "run", "standalone"]
            own = {
                "DEPLOY_MODE": "STANDALONE",
                "METRICS_PORT": str(self._metrics),
                "MILVUS_RUN_DIR": str(data / "run"),
                "LD_LIBRARY_PATH": str(data / "bin"),
            }
        else:
            data.mkdir()
            ports = [f"--{name}-port={port}" for name, port in self._ports.items()]
            settings = [f"--extra-config={setting}" for setting in self._settings]
            command = [self._program, "--data", data, *ports, *settings]
            own = {}
        with (self._folder / "server.log").open("ab") as log:
            # In a group of its own: the program starts the server as its child.
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=data,
                start_new_session=True,
                env={**os.environ, "HOME": str(self._folder), **own},
            )
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                connection = Connection(self.uri, token="", patience=20)
                connection.call("list_collections")
                connection.close()
                return
            except ProxyhashError:
                time.sleep(0.5)
        self.kill()
        raise TimeoutError((self._folder / "server.log").read_text()[-2000:])

    def kill(self) -> None:
        """End the server with kill -9, as a power cut would."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def running_server(folder: Path) -> Iterator[Server]:
    """Run a server until the block ends; skip the test where that cannot be."""
    if os.environ.get("PROXYHASH_MILVUS_SERVER") != "1":
        pytest.skip("set PROXYHASH_MILVUS_SERVER=1 to install and start a Milvus server")
    try:
        server = Server(folder, install_server())
        server.start()
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"the Milvus server cannot be installed or started: {error}")
    try:
        yield server
    finally:
        server.kill()


def install_server() -> Path:
    """Return the program of the server, installed where it is not yet."""
    program = CACHE / "bin" / "milvus-server"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", CACHE], check=True, capture_output=True)
        subprocess.run(
            [CACHE / "bin" / "pip", "install", "--quiet", f"milvus=={VERSION}"],
            check=True,
            capture_output=True,
            timeout=300,
        )
    return program


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
