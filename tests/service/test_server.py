"""A real server process, and clients that behave badly."""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest

from proxyhash.index.store import Store
from tests.service.conftest import PROXYHASH, Built, Keys, Server, bearer, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import CommandResult

pytestmark = [pytest.mark.allow_hosts(["127.0.0.1"]), pytest.mark.slow]

QUERY = {"text": "a duck and a boat", "k": 3}


@pytest.fixture(scope="module")
def server(built: Built) -> Iterator[Server]:
    with running(built.index, "--seconds", 2, "--upload-mb", 1) as server:
        yield server


def is_well(server: Server) -> bool:
    return httpx.post(server.url + "/v1/search", json=QUERY, timeout=20).status_code == 200


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def metric(server: Server, name: str) -> float:
    text = httpx.get(server.url + "/metrics").text
    return float(next(line for line in text.splitlines() if line.startswith(name)).split()[-1])


def until(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_it_serves_on_this_machine_only_and_says_where(server: Server) -> None:
    assert server.url.startswith("http://127.0.0.1:")
    answer = httpx.post(server.url + "/v1/search", json=QUERY)
    assert len(answer.json()["hits"]) == 3
    assert "server" not in answer.headers
    assert any(line["message"] == "serving" for line in server.lines)


def test_clients_that_leave_do_no_harm(server: Server) -> None:
    body = json.dumps(QUERY).encode()
    head = (
        b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    whole = head + body
    for cut in (1, 20, len(head) - 1, len(head), len(head) + 5, len(whole)):
        for _ in range(5):
            with connect(server) as connection:
                connection.sendall(whole[:cut])
    assert is_well(server)
    until(lambda: metric(server, "proxyhash_requests_under_way") == 1)
    until(lambda: metric(server, 'proxyhash_encode_waiting{modality="text"}') == 0)


def test_an_upload_that_drips_is_ended(server: Server) -> None:
    start = time.monotonic()
    with connect(server) as connection:
        connection.sendall(
            b"POST /v1/search/image HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000\r\n\r\n--b\r\n"
        )
        received = b""
        connection.settimeout(0.2)
        while b"\r\n\r\n" not in received and time.monotonic() - start < 15:
            try:
                connection.sendall(b"x")
                received += connection.recv(4096)
            except TimeoutError:
                continue
    assert received.startswith(b"HTTP/1.1 408")
    assert 1.5 < time.monotonic() - start < 10
    assert is_well(server)


def test_a_body_that_is_announced_too_large_is_refused_unread(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(
            b"POST /v1/search/image HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 99999999\r\n\r\n"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"A" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_http_does_no_harm(server: Server, request_: bytes) -> None:
    with connect(server) as connection:
        connection.settimeout(3)
        try:
            connection.sendall(request_)
            answer = connection.recv(4096)
        except (TimeoutError, ConnectionError):
            answer = b""
    assert not answer.startswith(b"HTTP/1.1 5")
    assert is_well(server)


def test_texts_that_come_together_are_encoded_together(server: Server) -> None:
    before = metric(server, 'proxyhash_encode_batch_count{modality="text"}')
    with httpx.Client() as client:
        texts = [f"a duck number {place}" for place in range(64)]
        client.post(server.url + "/v1/encode", json={"texts": texts})
    assert metric(server, 'proxyhash_encode_batch_count{modality="text"}') == before + 1


def test_sighup_reloads_and_sigterm_finishes_what_is_under_way(built: Built) -> None:
    with running(built.index) as server:
        statuses: list[int] = []
        stop = threading.Event()

        def ask() -> None:
            with httpx.Client(timeout=30) as client:
                while not stop.is_set():
                    statuses.append(client.post(server.url + "/v1/search", json=QUERY).status_code)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for wanted in (1, 2):
            server.process.send_signal(signal.SIGHUP)
            until(lambda wanted=wanted: wanted <= _said(server, "reloaded"))  # type: ignore[misc]
            seen = len(statuses)  # both generations of the snapshot are asked, however slow it is
            until(lambda seen=seen: len(statuses) > seen + 1)  # type: ignore[misc]
        stop.set()
        for thread in threads:
            thread.join()
        assert len(statuses) > 2
        assert set(statuses) == {200}
        with connect(server) as connection:
            body = json.dumps(QUERY).encode()
            connection.sendall(
                b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
                b"\r\nContent-Length: %d\r\n\r\n" % len(body)
            )
            until(lambda: metric(server, "proxyhash_requests_under_way") == 2)
            server.process.terminate()
            until(lambda: _said(server, "shutting down") == 1)
            connection.sendall(body)
            answer = connection.recv(65536)
        assert server.process.wait(30) == 0
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 503"))


def _said(server: Server, message: str) -> int:
    return sum(line["message"] == message for line in server.lines)


def put(server: Server, key: str, name: str, **more: object) -> httpx.Response:
    items = {"items": [{"id": name, "codes": {"text": "00ff"}} | more]}
    return httpx.post(server.url + "/v1/items", json=items, headers=bearer(key), timeout=30)


def test_killed_while_writing_it_loses_nothing_that_it_acknowledged(
    index_copy: Path, keys: Keys
) -> None:
    acknowledged: list[str] = []
    for life in range(2):
        with running(index_copy, "--keys", keys.path, "--write") as server:

            def write(worker: int, server: Server = server, life: int = life) -> None:
                for place in range(10_000):
                    name = f"{life}-{worker}-{place}"
                    try:
                        if put(server, keys.write, name).status_code != 200:
                            return
                    except httpx.HTTPError:
                        return
                    acknowledged.append(name)

            workers = [threading.Thread(target=write, args=(worker,)) for worker in range(3)]
            for worker in workers:
                worker.start()
            goal = len(acknowledged) + 30
            until(lambda goal=goal: len(acknowledged) >= goal)  # type: ignore[misc]
            server.kill()
            for worker in workers:
                worker.join()
    with Store.open(index_copy) as store:
        assert store.verify() == []
        assert [name for name in acknowledged if name not in store] == []
        assert len(store) >= 200 + len(acknowledged)


def test_a_full_disk_refuses_writes_and_goes_on_reading(index_copy: Path, keys: Keys) -> None:
    largest = max(path.stat().st_size for path in index_copy.rglob("*"))
    statuses, stored = [], []
    with running(index_copy, "--keys", keys.path, "--write", "--open-reads") as server:
        # No file may grow beyond this: what a full disk does to a writer.
        limit = (largest + 40_000, largest + 40_000)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limit)
        while statuses.count(507) < 3 and len(statuses) < 400:
            name = f"n{len(statuses)}"
            answer = put(server, keys.write, name, payload={"a": "b" * 2000})
            statuses.append(answer.status_code)
            if answer.status_code == 200:
                stored.append(name)
        assert set(statuses) == {200, 507}
        assert answer.json()["error"]["code"] == "storage"
        assert str(index_copy) not in answer.text
        assert is_well(server)
        assert httpx.get(server.url + f"/v1/items/{stored[-1]}").status_code == 200
    with Store.open(index_copy) as store:
        assert [name for name in stored if name not in store] == []
        # Words are written after their items, and the next writer takes in what is missing.
        assert all("words-000001.sqlite has " in problem for problem in store.verify())
    with running(index_copy, "--keys", keys.path, "--write") as server:
        assert put(server, keys.write, "after", payload={"a": "b"}).status_code == 200
    with Store.open(index_copy) as store:
        assert store.verify() == []


def test_a_port_that_is_taken_and_a_wrong_model_are_said_in_a_sentence(
    built: Built,
    server: Server,
    proxyhash_command: Callable[..., CommandResult],
    tmp_path: Path,
) -> None:
    taken = subprocess.run(
        [PROXYHASH, "serve", built.index, "--port", str(server.port)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (taken.returncode, "cannot listen on 127.0.0.1" in taken.stderr) == (2, True)
    away = proxyhash_command("serve", built.index, "--host", "0.0.0.0")
    assert (away.code, "proxyhash keys add" in away.err) == (2, True)
    with Store.create(tmp_path / "other", bits=16, model="another") as store:
        store.add(["a"], {"text": np.zeros((1, 2), np.uint8)})
    wrong = proxyhash_command("serve", tmp_path / "other", "--model", built.run, "--port", 0)
    assert (wrong.code, "not the model that made the codes" in wrong.err) == (3, True)
    engine = proxyhash_command("serve", built.index, "--engine", "fastest", "--port", 0)
    assert (engine.code, "'fastest'" in engine.err) == (2, True)


def test_help_and_import_load_neither_torch_nor_fastapi() -> None:
    script = (
        "import sys, proxyhash, proxyhash.cli\n"
        "heavy = {'torch', 'transformers', 'fastapi', 'uvicorn', 'httpx', 'starlette'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
