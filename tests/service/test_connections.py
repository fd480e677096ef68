"""Heads, bodies and connections that only cost: what reaches the parser, and what is ended."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from proxyhash.service.connections import Connection, Door
from proxyhash.service.framing import Framing, MalformedError
from proxyhash.service.monitoring import Metrics
from proxyhash.service.settings import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

HEAD = b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"


def take(*parts: bytes) -> tuple[bytes, bytes, bool]:
    """Return what goes through, what is left, and whether a request is complete."""
    framing, buffer, through = Framing(head_bytes=1000, fields=20), bytearray(), b""
    for part in parts:
        buffer += part
        through += framing.take(buffer)
    return through, bytes(buffer), framing.complete


@pytest.mark.parametrize(
    "request_",
    [
        GET,
        HEAD + b"Content-Length: 5\r\n\r\nhello",
        CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"5;a=b\r\nhello\r\n1 ; c\r\n!\r\n0\r\nX: y\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ],
)
def test_a_request_goes_through_as_it_came_and_ends_where_the_next_begins(request_: bytes) -> None:
    assert take(request_) == (request_, b"", True)
    assert take(*(request_[place : place + 1] for place in range(len(request_)))) == (
        request_,
        b"",
        True,
    )
    assert take(b"\r\n" + request_ + GET) == (request_, GET, True)
    assert take(request_[:-1])[2] is False


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
        (HEAD + b"Content-Length: 5, 5\r\n\r\nhello", 400),
        (HEAD + b"Content-Length: +5\r\n\r\nhello", 400),
        (HEAD + b"Content-Length: 0x5\r\n\r\nhello", 400),
        (HEAD + b"Content-Length:\r\n\r\n", 400),
        (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: xchunked\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding : chunked\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n folded\r\n\r\n", 400),
        (HEAD + b"\tX: y\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: localhost\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\nY: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\rX: a\r\n\r\n", 400),
        (HEAD + b"X: a\x00b\r\n\r\n", 400),
        (HEAD + b": no name\r\n\r\n", 400),
        (HEAD + b"Host: other\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /\xe9 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"\r\n" * 20 + GET, 400),
        (CHUNKED + b"5\r\nhelloXX", 400),
        (CHUNKED + b"5\r\nhello\n0\r\n\r\n", 400),
        (CHUNKED + b"0x5\r\nhello\r\n", 400),
        (CHUNKED + b"-5\r\n", 400),
        (CHUNKED + b"5" + b";a" * 200, 400),
        (CHUNKED + b"1\r\na\r\n" * 20_001, 413),
        (CHUNKED + b"0\r\n" + b"X: y\r\n" * 1000, 431),
        (CHUNKED + b"0\r\nX y\r\n\r\n", 400),
        (HEAD + b"X: " + b"a" * 2000, 431),
        (b"A" * 2000, 431),
        (HEAD + b"X: y\r\n" * 30 + b"\r\n", 431),
    ],
)
def test_what_can_be_read_in_two_ways_or_has_no_end_is_refused(
    request_: bytes, status: int
) -> None:
    with pytest.raises(MalformedError) as refused:
        take(request_)
    assert refused.value.status == status


def test_no_upgrade_reaches_the_parser() -> None:
    through, _, _ = take(HEAD + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
    assert through == HEAD + b"Connection: Upgrade\r\n\r\n"


class _Seen:
    """What httptools makes of bytes: bodies of whole requests."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def on_message_begin(self) -> None:
        self.body = b""

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.bodies.append(self.body)


def test_the_parser_sees_the_requests_that_passed_and_no_others() -> None:
    """Random requests, well-formed and spoiled, cut anywhere: both agree where each one ends."""
    draw = random.Random(0)
    passed = 0
    for _ in range(400):
        bodies = [draw.randbytes(draw.randrange(40)) for _ in range(3)]
        stream = b""
        for body in bodies:
            if draw.random() < 0.5:
                stream += HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
            else:
                cut = draw.randrange(len(body) + 1)
                parts = [part for part in (body[:cut], body[cut:]) if part]
                chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
                stream += CHUNKED + chunks + b"0\r\n\r\n"
        if draw.random() < 0.5:
            place = draw.randrange(len(stream))
            stream = stream[:place] + draw.randbytes(1) + stream[place + draw.randrange(2) :]
        framing, buffer = Framing(head_bytes=1000, fields=20), bytearray(stream)
        seen = _Seen()
        parser = httptools.HttpRequestParser(seen)
        done = 0
        try:
            while buffer:
                some = framing.take(buffer)
                if some:
                    parser.feed_data(some)
                if not framing.complete:
                    break
                done += 1
                framing.next()
                assert len(seen.bodies) == done
        except (MalformedError, httptools.HttpParserError):
            continue
        assert len(seen.bodies) == done
        passed += seen.bodies == bodies
    assert passed > 150


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers /x at once, /body with the size of the body, /refuse without reading it."""
    if scope["type"] != "http":
        return
    size, more = 0, scope["path"] == "/body"
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    content = b"a" * 5_000_000 if scope["path"] == "/large" else b"%d" % size
    headers = [(b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


class _Server(uvicorn.Server):
    door: Door

    async def on_tick(self, counter: int) -> bool:
        self.door.sweep()
        return await super().on_tick(counter)


PARSERS = [HttpToolsProtocol, H11Protocol]


@contextmanager
def listening(parser: Any, **limits: Any) -> Iterator[tuple[int, Metrics]]:
    """Run the app above behind a door, and yield its port and what the door counts."""
    metrics = Metrics()
    door = Door(Limits(**limits), metrics)
    listener = socket.create_server(("127.0.0.1", 0))

    def connect(**state: Any) -> Connection:
        return Connection(door, partial(parser, **state))

    config = uvicorn.Config(
        app, http=connect, lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )  # type: ignore[arg-type]
    server = _Server(config)
    server.door = door
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1], metrics
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def refused(metrics: Metrics, reason: str) -> float:
    return metrics.registry.get_sample_value(
        "proxyhash_connections_refused_total", {"reason": reason}
    ) or 0.0  # fmt: skip


def talk(port: int, *parts: bytes, wait: float = 5) -> bytes:
    """Send bytes and return everything that comes until the service closes or is silent."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=5)) as connection:
        for part in parts:
            connection.sendall(part)
        connection.settimeout(wait)
        received = b""
        try:
            while some := connection.recv(65_536):
                received += some
        except (TimeoutError, ConnectionError):
            pass
        return received


def asks(path: bytes, *, more: bytes = b"") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + more + b"\r\n"


LAST = b"Connection: close\r\n"


@pytest.mark.parametrize("parser", PARSERS)
def test_requests_on_one_connection_are_answered_one_after_the_other(parser: Any) -> None:
    with listening(parser) as (port, _):
        body = b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\n1234567"
        chunked = (
            b"POST /body HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n0\r\n\r\n"
        )
        # The body of the third is never read by the app; the fourth is answered all the same.
        unread = b"POST /refuse HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
        stream = asks(b"/x") * 30 + body + chunked + unread
        received = talk(port, stream, b"GET / HTT", asks(b"/body", more=LAST))
        assert received.count(b"HTTP/1.1 200") == 34
        sizes = [part.split(b"HTTP")[0] for part in received.split(b"\r\n\r\n")[1:]]
        assert sizes == [b"0"] * 30 + [b"7", b"3", b"0", b"0"]


@pytest.mark.parametrize("parser", PARSERS)
def test_a_head_without_end_is_answered_431_and_memory_stays(parser: Any) -> None:
    with listening(parser) as (port, metrics):
        for flood in (b"X: " + b"a" * 100_000, b"X: y\r\n" * 5000):
            received = b""
            with closing(socket.create_connection(("127.0.0.1", port), timeout=5)) as connection:
                sent = connection.send(HEAD)
                with suppress(OSError):
                    while sent < 50_000_000:
                        sent += connection.send(flood)
                with suppress(OSError):
                    received = connection.recv(4096)
            assert sent < 20_000_000
            assert not received or received.startswith(b"HTTP/1.1 431")
        assert talk(port, HEAD + b"X: " + b"a" * 40_000).startswith(b"HTTP/1.1 431")
        assert refused(metrics, "head_too_large") == 3
        assert b"200 OK" in talk(port, asks(b"/x", more=LAST))


@pytest.mark.parametrize("parser", PARSERS)
def test_a_smuggled_request_is_never_answered(parser: Any) -> None:
    inner = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with listening(parser) as (port, _):
        for outer in (
            b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % len(inner),
            b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(inner),
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
            b"X: y\r\n Content-Length: 5\r\n\r\n",
        ):
            start = b"POST /body HTTP/1.1\r\nHost: localhost\r\n"
            received = talk(port, start + outer + inner, wait=0.3)
            assert received.startswith(b"HTTP/1.1 400")
            assert received.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("parser", PARSERS)
def test_slow_heads_and_idle_connections_are_ended(parser: Any) -> None:
    with listening(parser, head_seconds=0.4, idle_seconds=0.7) as (port, metrics), ExitStack() as s:
        slow = s.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=0.05)))
        start, received = time.monotonic(), b""
        while time.monotonic() - start < 5 and not received:
            try:
                slow.sendall(b"G")
                received = slow.recv(4096)
            except TimeoutError:
                continue
        assert received.startswith(b"HTTP/1.1 408")
        assert 0.3 < time.monotonic() - start < 3
        assert refused(metrics, "slow head") == 1
        for first in (b"", asks(b"/x")):
            start = time.monotonic()
            assert talk(port, first).count(b"HTTP/1.1 200") == bool(first)
            assert 0.5 < time.monotonic() - start < 4


@pytest.mark.parametrize("parser", PARSERS)
def test_the_connection_that_is_idle_longest_makes_room(parser: Any) -> None:
    with listening(parser, connections=20) as (port, metrics), ExitStack() as stack:
        for _ in range(100):  # nobody who asks has to wait for those who only hold connections
            idle = socket.create_connection(("127.0.0.1", port), timeout=5)
            stack.enter_context(closing(idle))
        assert b"200 OK" in talk(port, asks(b"/x", more=LAST))
        assert refused(metrics, "crowded") >= 80


@pytest.mark.parametrize("parser", PARSERS)
def test_answers_that_nobody_takes_are_not_kept(parser: Any) -> None:
    with listening(parser, seconds=0.5) as (port, metrics):
        with closing(socket.create_connection(("127.0.0.1", port), timeout=5)) as connection:
            connection.sendall(asks(b"/large"))
            end = time.monotonic() + 5
            while not refused(metrics, "answer not taken") and time.monotonic() < end:
                time.sleep(0.05)
        assert refused(metrics, "answer not taken") == 1
    with listening(parser, answer_bytes=1_000_000) as (port, metrics), ExitStack() as stack:
        for _ in range(12):
            one = stack.enter_context(closing(socket.create_connection(("127.0.0.1", port))))
            one.sendall(asks(b"/large"))
        end = time.monotonic() + 5
        while not refused(metrics, "answers not taken") and time.monotonic() < end:
            time.sleep(0.05)
        assert refused(metrics, "answers not taken") >= 1
        assert b"200 OK" in talk(port, asks(b"/x", more=LAST))


@pytest.mark.parametrize("parser", PARSERS)
def test_who_sends_ahead_without_end_is_cut_off(parser: Any) -> None:
    with listening(parser) as (port, metrics):
        with closing(socket.create_connection(("127.0.0.1", port), timeout=5)) as connection:
            sent = 0
            with suppress(OSError):
                while sent < 50_000_000:
                    sent += connection.send(asks(b"/large") * 20_000)
        assert sent < 20_000_000
        assert refused(metrics, "sent ahead") == 1
        unread = b"POST /refuse HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000000\r\n\r\n"
        with closing(socket.create_connection(("127.0.0.1", port), timeout=5)) as connection:
            sent = connection.send(unread)
            with suppress(OSError):
                while sent < 50_000_000:
                    sent += connection.send(b"a" * 100_000)
        assert sent < 20_000_000
