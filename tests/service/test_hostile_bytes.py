"""Hostile requests as bytes, of many kinds: no 500, no hang, no crash, and no write without a key.

All run where `PROXYHASH_THOROUGH=1` is set, a part of them elsewhere.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from proxyhash.index.store import Store
from tests.service.conftest import Keys, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.allow_hosts(["127.0.0.1"]), pytest.mark.slow]

COUNT = 1400 if os.environ.get("PROXYHASH_THOROUGH") else 140
IDS = [
    ".",
    "..",
    "a/../b",
    "%",
    "%00",
    "\n",
    "../../etc/passwd",
    "\\",
    "",
    "🦆",
    "%2e%2e%2f",
    "a b",
]
ITEM = json.dumps({"items": [{"id": "written", "codes": {"text": "00ff"}}]}).encode()
WRITES = [("POST", "/v1/items"), ("POST", "/v1/items/delete"), ("DELETE", "/v1/items/000001")]


def http(method: str, path: str, body: bytes = b"", *fields: str, host: str = "localhost") -> bytes:
    """Return a request, its length said unless a field says how the body comes."""
    said = any(one.lower().startswith(("content-length", "transfer-enc")) for one in fields)
    own = [] if said else [f"Content-Length: {len(body)}"]
    head = "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *own, *fields, "", ""])
    return head.encode("utf-8", "surrogateescape") + body


class Maker:
    """Draws requests; the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.kinds: dict[str, Callable[[], bytes]] = {
            name.removeprefix("make_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("make_")
        }

    def make(self) -> tuple[str, bytes]:
        kind = self.draw.choice(sorted(self.kinds))
        return kind, self.kinds[kind]()

    def make_two_lengths(self) -> bytes:
        inner = http("POST", "/v1/items", ITEM, "Content-Type: application/json")
        coding = self.draw.choice(
            ["chunked", "Chunked", " chunked", "\tchunked", "chunked, identity"]
        )
        fields = [
            f"Content-Length: {self.draw.choice([0, 4, len(inner)])}",
            f"Transfer-Encoding:{coding}",
        ]
        self.draw.shuffle(fields)
        return http("POST", "/v1/search", b"0\r\n\r\n" + inner, *fields)

    def make_spoiled_head(self) -> bytes:
        request = bytearray(http("POST", "/v1/search", b"{}", "Content-Type: application/json"))
        for _ in range(self.draw.randrange(1, 6)):
            place = self.draw.randrange(len(request))
            request[place : place + self.draw.randrange(3)] = self.draw.randbytes(
                self.draw.randrange(3)
            )
        return bytes(request)

    def make_many_fields(self) -> bytes:
        size = self.draw.choice([10, 100, 5000])
        return http(
            "GET",
            "/v1/info",
            b"",
            *(f"X-{n}: {'a' * size}" for n in range(self.draw.choice([50, 300]))),
        )

    def make_line_ends(self) -> bytes:
        end = self.draw.choice([b"\n", b"\r", b"\n\r", b"\r\n ", b"\x0b", b"\x00\r\n"])
        return http("GET", "/v1/info", b"", "X: y", "Z: w").replace(
            b"\r\n", end, self.draw.randrange(1, 5)
        )

    def make_chunks(self) -> bytes:
        size = self.draw.choice(
            ["5", "0x5", "-1", "ffffffffffffffff", "5;" + "a" * 5000, "", "g", "5\n", "00000005"]
        )
        tail = self.draw.choice(
            ["hello\r\n0\r\n\r\n", "hel", "hello0\r\n\r\n", "hello\r\n0\r\nX y\r\n\r\n", ""]
        )
        return http(
            "POST", "/v1/search", f"{size}\r\n{tail}".encode(), "Transfer-Encoding: chunked"
        )

    def make_small_chunks(self) -> bytes:
        body = b"1\r\n \r\n" * self.draw.choice([1000, 25_000])
        return http("POST", "/v1/search", body + b"0\r\n\r\n", "Transfer-Encoding: chunked")

    def make_pipeline(self) -> bytes:
        some = [
            http("GET", "/healthz"),
            http("GET", "/v1/info"),
            http(*self.draw.choice(WRITES), ITEM),
        ]
        return b"".join(self.draw.choice(some) for _ in range(self.draw.choice([3, 50, 3000])))

    def make_form_from_elsewhere(self) -> bytes:
        kind = self.draw.choice(
            ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"]
        )
        path = self.draw.choice(
            ["/v1/search", "/v1/search/image", "/v1/items", "/v1/admin/reload", "/v1/encode"]
        )
        site = self.draw.choice(["cross-site", "same-site", "none ", "", "same-origin, cross-site"])
        return http(
            "POST",
            path,
            ITEM,
            f"Content-Type: {kind}",
            f"Sec-Fetch-Site: {site}",
            "Origin: http://evil",
        )

    def make_other_host(self) -> bytes:
        host = self.draw.choice(
            [
                "evil.example",
                "localhost.evil",
                "localhost@evil",
                "[::1",
                "127.1",
                "localhost:99999",
                "0",
            ]
        )
        return http(
            "POST", "/v1/search", b'{"code": "00ff"}', "Content-Type: application/json", host=host
        )

    def make_key(self) -> bytes:
        key = self.draw.choice(
            [
                "Bearer ",
                "Bearer " + "a" * 9000,
                "Basic eDp5",
                "bearer\t\xe9",
                "Bearer phk_\x7f",
                "Bearer null",
            ]
        )
        return http(
            *self.draw.choice(WRITES),
            ITEM,
            f"Authorization: {key}",
            "Content-Type: application/json",
        )

    def make_method(self) -> bytes:
        method = self.draw.choice(
            ["TRACE", "CONNECT", "PATCH", "PUT", "get", "M" * 30, "PROPFIND", "OPTIONS", "DELETE"]
        )
        override = self.draw.choice(
            [
                "X-HTTP-Method-Override: DELETE",
                "X-Method: POST",
                "Upgrade: h2c",
                "Expect: 100-continue",
            ]
        )
        return http(
            method,
            self.draw.choice(["/v1/items/000001", "*", "/", "//", "http://evil/v1/info"]),
            ITEM,
            override,
        )

    def make_id(self) -> bytes:
        id_ = self.draw.choice(IDS)
        written = self.draw.choice(
            [
                quote(id_, safe=""),
                quote(id_, safe="/%\\"),
                "%" + quote(id_)[-2:],
                "?id=" + quote(id_),
            ]
        )
        method = self.draw.choice(["GET", "DELETE", "HEAD"])
        return http(
            method, f"/v1/{self.draw.choice(['items', 'thumbnails', 'originals'])}/{written}"
        )

    def make_parameters(self) -> bytes:
        count = self.draw.choice(["-1", "1e9", "0", "97", "9" * 4000, "%00", "", "1&count=2"])
        return http(
            "GET",
            f"/v1/sample?count={count}&seed={self.draw.choice(['-1', '2147483648', 'x', ''])}",
        )

    def make_coding(self) -> bytes:
        body = gzip.compress(b" " * 1_000_000)
        coding = self.draw.choice(
            ["gzip", "deflate", "br", "zstd", "identity", "gzip, gzip", "x-gzip"]
        )
        return http(
            "POST",
            "/v1/search",
            body,
            f"Content-Encoding: {coding}",
            "Content-Type: application/json",
        )

    def make_faults(self) -> bytes:
        n = self.draw.choice([300, 50_000])
        value: Any = self.draw.choice([
            {"queries": [{}] * n}, {"vector": ["a"] * n}, {f"k{i}": 1 for i in range(n)}, [[]] * n,
            {"texts": [None] * n}, {"text": "a", "filter": {"and": [{}] * n}}, {"ids": [0] * n},
            {"code": "0" * n}, {"text": "\u0301" * n},
            {"queries": [{"code": "00ff", "k": 1000}] * 256},
        ])  # fmt: skip
        path = self.draw.choice(["/v1/search", "/v1/search/batch", "/v1/encode"])
        return http("POST", path, json.dumps(value).encode(), "Content-Type: application/json")

    def make_filter(self) -> bytes:
        field = self.draw.choice(["labels", "text", "nothing", "$.a", 'a"b', "", "\u0000", "id"])
        part: Any = {
            "field": field,
            self.draw.choice(["eq", "contains", "lt"]): self.draw.choice(
                [1, "a", None, 1e308, 2**63]
            ),
        }
        for _ in range(self.draw.choice([0, 1, 14, 20])):
            part = self.draw.choice(
                [{"not": part}, {"and": [part] * 2}, {"or": []}, {"and": [part]}]
            )
        body = {"code": "00ff", "filter": part, "explain": self.draw.random() < 0.5}
        return http(
            "POST",
            "/v1/search",
            json.dumps(body).encode()[:3_000_000],
            "Content-Type: application/json",
        )

    def make_raw(self) -> bytes:
        return self.draw.randbytes(self.draw.choice([1, 100, 40_000]))

    def make_cut(self) -> bytes:
        request = http("POST", "/v1/search", b'{"code": "00ff"}', "Content-Type: application/json")
        return request[: self.draw.randrange(len(request))]

    def make_unread(self) -> bytes:
        return http(*self.draw.choice(WRITES), b"a" * 700_000, "Content-Length: 99999999999")


def send(port: int, request: bytes) -> tuple[list[int], float]:
    """Return the statuses of all answers, and how many seconds they took together.

    Who gets nothing for half a second closes: a request may be incomplete.
    """
    start = time.monotonic()
    received = b""
    try:
        with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as connection:
            connection.settimeout(12)
            sending = ThreadPoolExecutor(1)
            sending.submit(connection.sendall, request)
            connection.settimeout(0.5)
            while some := connection.recv(1 << 20):
                received = (received + some)[-4_000_000:]
    except OSError:
        pass
    seconds = time.monotonic() - start
    heads = received.split(b"HTTP/1.1 ")[1:]
    return [int(head[:3]) for head in heads if head[:3].isdigit()], seconds


def test_a_thousand_requests_do_no_harm(index_copy: Path, keys: Keys) -> None:
    maker = Maker(17)
    requests = [maker.make() for _ in range(COUNT)]
    kinds = Counter(kind for kind, _ in requests)
    assert COUNT < 1000 or (len(kinds) == len(maker.kinds) and min(kinds.values()) >= 30)
    statuses: Counter[int] = Counter()
    slow, failed = [], []
    options = ("--keys", keys.path, "--write", "--open-reads", "--seconds", 8)
    with running(index_copy, *options) as server:
        before = httpx.get(server.url + "/v1/info").json()["items"]
        with ThreadPoolExecutor(8) as clients:
            done = clients.map(lambda pair: (pair[0], *send(server.port, pair[1])), requests)
            for kind, found, seconds in done:
                statuses.update(found)
                # A pipeline of 3000 requests takes its time; no request may hold up the others.
                slow += [kind] if seconds > 10 + 0.1 * len(found) else []
                failed += [kind for status in found if status in (500, 502) or status == 507]
        assert (slow, failed) == ([], [])
        assert server.process.poll() is None
        with httpx.Client(base_url=server.url, timeout=20) as client:
            assert client.get("/v1/info").json()["items"] == before
            assert client.get("/v1/items/written").status_code == 404
            assert client.get("/v1/items/000001").status_code == 200
            assert client.post("/v1/search", json={"text": "a duck", "k": 3}).status_code == 200
            assert client.get("/readyz").json()["warnings"] == []
        tracebacks = [line for line in server.lines if "traceback" in line]
        assert tracebacks == []
    print(sum(statuses.values()), "answers", dict(sorted(statuses.items())))
    with Store.open(index_copy) as store:
        assert (store.verify(), "written" in store, len(store)) == ([], False, before)
