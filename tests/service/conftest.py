"""A small index with its model, services over it, and real server processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from proxyhash.service import Limits, Service, Settings, create_app
from proxyhash.service.keys import KeyFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxyhash.data import Collection

PROXYHASH = Path(sys.executable).parent / "proxyhash"


@dataclass(frozen=True)
class Built:
    """A run, the index made of it, and its items; do not write into either folder."""

    run: Path
    index: Path
    collection: Collection


@pytest.fixture(scope="session")
def built(scenes: Collection, tmp_path_factory: pytest.TempPathFactory) -> Built:
    from proxyhash.catalog.build import build_index
    from proxyhash.training.config import read_config
    from proxyhash.training.run import train

    folder = tmp_path_factory.mktemp("service")
    values = {"query": 20, "train": 100, "validation": 20, "hidden": [32], "epochs": 2}
    config = {"data": str(scenes.root), "out": str(folder / "run"), "bits": 16, "threads": 1}
    train(read_config(config | values))
    build_index(folder / "run", scenes.root, folder / "index", thumbnails=True, keep_vectors="int8")
    return Built(folder / "run", folder / "index", scenes)


@pytest.fixture
def index_copy(built: Built, tmp_path: Path) -> Path:
    """An index that a test may change."""
    shutil.copytree(built.index, tmp_path / "index")
    return tmp_path / "index"


@dataclass(frozen=True)
class Keys:
    """A file of two keys, and the keys."""

    path: Path
    read: str
    write: str


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    path = tmp_path / "keys.json"
    file, read = KeyFile(path).add("reader")
    _, write = file.add("writer", scope="write")
    return Keys(path, read, write)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@contextmanager
def open_client(built: Built, **changes: Any) -> Iterator[TestClient]:
    """Open a service in this process and yield a client of it; `limits` is a mapping."""
    limits = Limits(**changes.pop("limits", {}))
    settings = Settings(**({"index": str(built.index), "limits": limits} | changes))
    app = create_app(Service(settings))
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def serve(built: Built) -> Iterator[Callable[..., TestClient]]:
    """A function that opens a service in this process and returns a client of it."""
    with ExitStack() as services:
        yield lambda **changes: services.enter_context(open_client(built, **changes))


@pytest.fixture(scope="module")
def client(built: Built) -> Iterator[TestClient]:
    """A client of a service that only reads, without keys."""
    with open_client(built) as client:
        yield client


@dataclass
class Server:
    """A running `proxyhash serve`."""

    process: subprocess.Popen[str]
    url: str
    log: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What the log has so far, decoded."""
        return [json.loads(line) for line in list(self.log)]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)


@contextmanager
def running(index: Path | str, *options: object) -> Iterator[Server]:
    """Start `proxyhash serve` on a free port, and stop it at the end."""
    process = subprocess.Popen(
        [PROXYHASH, "serve", str(index), "--port", "0", *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        if " at http" not in line:
            process.kill()
            raise RuntimeError(f"no server: {process.stderr.read()}")
        server = Server(process, line.split()[-1])
        reader = threading.Thread(
            target=lambda stream: server.log.extend(iter(stream.readline, "")),
            args=(process.stderr,),
        )
        reader.start()
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if "reader" in locals():
            reader.join()
        process.stdout.close()
        process.stderr.close()
