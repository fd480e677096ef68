"""Latency of a service while eight clients send it the worst that is known.

    python benchmarks/hostile.py INDEX               # 20 seconds of each kind of attack
    python benchmarks/hostile.py INDEX --json

INDEX is an index folder with a model, of 300,000 items for the record. Attackers are processes of
their own: filters that name hundreds of fields and whose clients leave, heads without end, bodies
of tiny chunks and of very many faults, and images whose heads or scans have no end. Meanwhile
/healthz is asked every 20 ms and texts are searched for at a fixed rate, both timed from when they
were due. Bars: /healthz within 100 ms, text searches p99 under 500 ms, memory bounded.

Attackers share the machine with the service. What they send is made before, and they run at low
priority, as on a machine of their own they would take nothing but the service's time. What the
machine itself costs is told by a second server, which does nothing but answer and is asked like
/healthz, in the same moments: `machine_ms`.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import multiprocessing
import os
import random
import re
import signal
import socket
import struct
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from PIL import Image

from http_load import Load, at_a_rate, multipart
from serving import memory, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

CLIENTS = 8
_LOW = 10  # what attackers add to their niceness


def post(path: str, kind: str, body: bytes) -> bytes:
    """Return a request."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


def ask(value: Any, path: str = "/v1/search") -> bytes:
    """Return a request with a JSON body."""
    return post(path, "application/json", json.dumps(value).encode())


def filters() -> list[bytes]:
    """Return searches whose filters are as expensive as they may be."""
    code = {"text": "a red circle"}
    unknown = [{"field": f"unknown {n}", "eq": 1} for n in range(255)]
    known = [{"field": "text", "ge": f"text {n}"} for n in range(250)]
    wide = [{"field": f"field {n}", "contains": n} for n in range(16)]
    labels = [{"field": "labels", "contains": f"label {n}"} for n in range(250)]
    parts = [unknown, known, wide, labels]
    return [ask(code | {"filter": {"or": some}, "explain": True}) for some in parts]


def heads() -> list[bytes]:
    """Return requests that do not end."""
    begin = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
    chunked = b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    return [
        begin + b"X: " + b"a" * 20_000_000,
        begin + b"X-Field: value\r\n" * 1_000_000,
        chunked + b"1\r\n \r\n" * 1_000_000,
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200_000,
    ]


def bodies() -> list[bytes]:
    """Return JSON in which very much is wrong."""
    return [
        ask({"queries": [{}] * 90_000}, "/v1/search/batch"),
        ask({"vector": ["a"] * 60_000}),
        ask({f"k{n}": 1 for n in range(140_000)}),
        ask([[]] * 90_000),
        ask({"queries": [{"code": "00" * 8, "k": 1000}] * 20}, "/v1/search/batch"),
    ]


def images() -> list[bytes]:
    """Return uploads whose heads or scans have no end."""
    megabytes = 9_000_000
    buffer = io.BytesIO()
    Image.radial_gradient("L").resize((256, 256)).save(buffer, "JPEG", progressive=True)
    jpeg = buffer.getvalue()
    last = jpeg.rindex(b"\xff\xda")
    scans = jpeg[:-2] + jpeg[last:-2] * (280_000 // (len(jpeg) - last)) + b"\xff\xd9"
    chunk = struct.pack(">I", 0) + b"tEXt" + struct.pack(">I", zlib.crc32(b"tEXt"))
    gif = b"GIF89a\x01\x00\x01\x00\x00\x00\x00" + b"\x21\xfe\x01a\x00" * (megabytes // 5)
    white = io.BytesIO()
    Image.new("RGB", (6300, 6300)).save(white, "WEBP")
    files = [
        b"\xff\xd8" + b"\xff" * megabytes,
        b"\xff\xd8" + b"\xff\xe1\x00\x02" * (megabytes // 4),
        scans,
        b"P5\n" + b"#a\n" * (megabytes // 3) + b"100 100 255\n",
        b"\x89PNG\r\n\x1a\n" + chunk * (megabytes // len(chunk)),
        gif,
        white.getvalue(),
        b"II*\x00\x08\x00\x00\x00\xff\xff"
        + b"\x11\x01\x04\x00\x01\x00\x00\x00\x08\x00\x00\x00" * 65535,
    ]
    return [post("/v1/search/image", *multipart(file)) for file in files]


KINDS: Mapping[str, Callable[[], list[bytes]]] = {
    "filters": filters,
    "heads": heads,
    "bodies": bodies,
    "images": images,
}


def attack(port: int, requests: list[bytes], seed: int, seconds: float) -> None:
    """Send requests one after the other; every second client leaves before its answer."""
    os.nice(_LOW)
    draw = random.Random(seed)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(draw.choice(requests))
                if draw.random() < 0.5:
                    connection.recv(4096)
        except OSError:
            continue


def answer_only(listener: socket.socket) -> None:
    """Serve as little as can be."""

    class Answer(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.Transport", transport)

        def data_received(self, data: bytes) -> None:
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" if data else b"")

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Answer, sock=listener)
        await server.serve_forever()

    asyncio.run(run())


def peak(process: Any) -> int:
    """Return the largest memory that the process has had, in MB."""
    text = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+)", text)
    return int(found[1]) // 1024 if found else 0


def measure(
    process: Any, port: int, kinds: list[str], seconds: float, rate: float
) -> dict[str, Any]:
    """Return latencies while these kinds of attack go on; without kinds, of a calm service."""
    before = round(os.getloadavg()[0], 1)
    requests = [request for kind in kinds for request in KINDS[kind]()]
    attackers = [
        multiprocessing.Process(target=attack, args=(port, requests, seed, seconds))
        for seed in range(CLIENTS if kinds else 0)
    ]
    listener = socket.create_server(("127.0.0.1", 0))
    other = multiprocessing.Process(target=answer_only, args=(listener,), daemon=True)
    other.start()
    for each in attackers:
        each.start()
    texts: Iterator[str] = iter(f"a red circle {n}" for n in range(10**9))

    def text() -> tuple[str, str, bytes]:
        return "POST /v1/search", "application/json", json.dumps({"text": next(texts)}).encode()

    def probe() -> tuple[str, str, bytes]:
        return "GET /healthz", "", b""

    async def both() -> list[Load]:
        await asyncio.sleep(1)
        nothing = at_a_rate(listener.getsockname()[1], probe, rate=50, seconds=seconds - 2)
        health = at_a_rate(port, probe, rate=50, seconds=seconds - 2)
        searches = at_a_rate(port, text, rate=rate, seconds=seconds - 2)
        return list(await asyncio.gather(nothing, health, searches))

    nothing, health, searches = asyncio.run(both())
    for each in attackers:
        each.join()
    other.kill()
    listener.close()
    return {
        "healthz_ms": told(health),
        "text_ms": told(searches),
        "machine_ms": told(nothing),
        "memory_mb": memory(process) | {"peak": peak(process)},
        "load_average": [before, round(os.getloadavg()[0], 1)],
    }


def told(load: Load) -> dict[str, Any]:
    """Return the summary of a load, with its worst time."""
    return {"worst": round(1000 * max(load.times), 1)} | load.summary()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("--seconds", type=float, default=20, help="of each kind")
    parser.add_argument("--rate", type=float, default=10, help="text searches per second")
    parser.add_argument("--kinds", default=",".join(KINDS), help="of attack, and all together")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    process, port = start(options.index)
    figures: dict[str, Any] = {}
    try:
        rounds = [[], *([kind] for kind in kinds), *([kinds] if len(kinds) > 1 else [])]
        for some in rounds:
            name = " and ".join(some) or "calm"
            figures[name] = measure(process, port, some, options.seconds, options.rate)
            if not options.json:
                print(name, json.dumps(figures[name]), flush=True)
    finally:
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    figures["seconds until it ended"] = round(time.monotonic() - begin, 1)
    print(json.dumps(figures, indent=2) if options.json else figures["seconds until it ended"])


if __name__ == "__main__":
    main()
