"""A minimal HTTP client for load tests, cheap enough that the service is what is measured."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

Request = tuple[str, str, bytes]
"""Method and address, content type, body."""

_BOUNDARY = b"8f3a0c55e1"


@dataclass
class Load:
    """Answers to a load.

    Attributes:
        seconds: duration of the load.
        times: of the answers, in seconds.
        statuses: number of answers by status; 0 for broken connections.
    """

    seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def summary(self) -> dict[str, Any]:
        """Return rate, percentiles in milliseconds, and errors."""
        p50, p90, p99 = np.percentile(1000 * np.array(self.times or [0.0]), [50, 90, 99])
        return {
            "answers": len(self.times),
            "per_second": round(self.statuses[200] / self.seconds, 1),
            "p50_ms": round(float(p50), 1),
            "p90_ms": round(float(p90), 1),
            "p99_ms": round(float(p99), 1),
            "errors": {str(key): n for key, n in sorted(self.statuses.items()) if key != 200},
        }


class Connection:
    """One connection that is kept open."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Request) -> int:
        """Send a request and return the status of its answer, 0 when the connection broke."""
        what, kind, body = request
        try:
            if self.streams is None:
                self.streams = await asyncio.open_connection("127.0.0.1", self.port)
            reader, writer = self.streams
            head = f"{what} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
            head += f"Content-Type: {kind}\r\n\r\n" if kind else "\r\n"
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            return int(answer[9:12])
        except (OSError, asyncio.IncompleteReadError, ValueError):
            self.close()
            return 0

    def close(self) -> None:
        """Close it; the next request opens another."""
        if self.streams is not None:
            self.streams[1].close()
        self.streams = None


def multipart(image: bytes) -> tuple[str, bytes]:
    """Return content type and body of an upload."""
    head = b'\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    body = b"--" + _BOUNDARY + head + image + b"\r\n--" + _BOUNDARY + b"--\r\n"
    return f"multipart/form-data; boundary={_BOUNDARY.decode()}", body


async def as_fast_as_answered(
    port: int, make: Callable[[], Request], *, clients: int, seconds: float
) -> Load:
    """Let several clients ask, each as soon as it has its answer."""
    load = Load()
    begin = time.perf_counter()

    async def client() -> None:
        connection = Connection(port)
        while time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            load.statuses[await connection.ask(make())] += 1
            load.times.append(time.perf_counter() - start)
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    load.seconds = time.perf_counter() - begin
    return load


async def at_a_rate(port: int, make: Callable[[], Request], *, rate: float, seconds: float) -> Load:
    """Ask at fixed moments, whatever the answers do; times count from those moments."""
    load = Load(seconds=seconds)
    idle: list[Connection] = []
    begin = time.perf_counter()

    async def ask(due: float) -> None:
        connection = idle.pop() if idle else Connection(port)
        load.statuses[await connection.ask(make())] += 1
        load.times.append(time.perf_counter() - due)
        idle.append(connection)

    tasks = []
    for place in range(int(rate * seconds)):
        due = begin + place / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(due)))
    await asyncio.gather(*tasks)
    for connection in idle:
        connection.close()
    return load
