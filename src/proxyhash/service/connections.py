"""Connections of clients: how many, how long, and what of their bytes reaches the HTTP parser.

A `Connection` stands between the socket and uvicorn's protocol, whichever parser that uses. It lets
one request at a time through, in the form that `framing` allows, and ends connections that only
cost: heads that do not arrive, answers that nobody takes, bodies that nobody reads. The `Door`
knows all connections; where they become too many, the one that has been idle longest goes.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from proxyhash.service.errors import error_response
from proxyhash.service.framing import Framing, MalformedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxyhash.service.monitoring import Metrics
    from proxyhash.service.settings import Limits

__all__ = ["Connection", "Door"]

_LOG = logging.getLogger("proxyhash.service")
_AHEAD_BYTES = 65_536  # sent before the answer to what came first
_UNREAD_BYTES = 1_000_000  # of a body that is refused; clients see the answer only if they may send
_LINGER = 1.0  # seconds in which such an answer can be read
_FLUSH = 5.0  # seconds without a byte taken, or without the rest of a body that was refused
_LOG_EVERY = 1.0


class Door:
    """All connections of a server.

    Args:
        limits: of the service.
        metrics: told what is turned away.
    """

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self.limits = limits
        self._metrics = metrics
        self._all: set[Connection] = set()
        self._idle: dict[Connection, None] = {}  # in the order in which they became idle
        self._by_address: Counter[str] = Counter()
        self._logged = 0.0

    def enter(self, connection: Connection) -> bool:
        """Let a connection in, if need be in place of an idle one, and return whether it is in."""
        address = connection.address
        self._all.add(connection)
        self._by_address[address] += 1
        crowded = bool(address) and self._by_address[address] > self.limits.connections_per_address
        if crowded or len(self._all) > self.limits.connections:
            oldest = next(
                (one for one in self._idle if not crowded or one.address == address), None
            )
            self.refused("crowded", address)
            if oldest is None:
                return False
            oldest.end()
            self.leave(oldest)
        self._idle[connection] = None
        return True

    def leave(self, connection: Connection) -> None:
        """Forget a connection."""
        if connection in self._all:
            self._all.remove(connection)
            self._idle.pop(connection, None)
            self._by_address[connection.address] -= 1
            if not self._by_address[connection.address]:
                del self._by_address[connection.address]

    def mark(self, connection: Connection, *, idle: bool) -> None:
        """Note that a connection begins or ends a request."""
        self._idle.pop(connection, None)
        if idle and connection in self._all:
            self._idle[connection] = None

    def sweep(self) -> None:
        """End the connections whose time is over; called about once a second."""
        now = time.monotonic()
        for connection in list(self._all):
            connection.check(now)
        held = [(one.unsent, one) for one in self._all]
        total = sum(size for size, _ in held)
        for size, connection in sorted(held, key=lambda pair: -pair[0]):
            if total <= self.limits.answer_bytes:
                break
            self.refused("answers not taken", connection.address)
            connection.abort()
            total -= size

    def refused(self, reason: str, address: str) -> None:
        """Count what is turned away; log some of it."""
        self._metrics.refused.labels(reason).inc()
        now = time.monotonic()
        if now - self._logged > _LOG_EVERY:  # many connections write few log lines
            self._logged = now
            _LOG.warning("connection refused", extra={"reason": reason, "client": address})


class Connection(asyncio.Protocol):
    """One connection.

    Args:
        door: which it came through.
        make: returns uvicorn's protocol, which parses and answers.
    """

    def __init__(self, door: Door, make: Callable[[], Any]) -> None:
        self.address = ""
        self._door = door
        self._inner = make()
        answered = self._inner.on_response_complete

        def on_response_complete() -> None:
            answered()
            self._answered()

        self._inner.on_response_complete = on_response_complete
        limits = door.limits
        self._framing = Framing(head_bytes=limits.head_bytes, fields=limits.head_fields)
        self._buffer = bytearray()
        self._transport: asyncio.Transport
        self._let_in = False
        self._asked = False  # a head was passed on, and its answer or its body is not complete
        self._replied: float | None = None  # when the answer was complete, if the body is not
        self._ended: float | None = None  # when; what still comes is thrown away
        self._dropped = 0
        self._since = self._moved = time.monotonic()
        self._unsent = 0

    @property
    def unsent(self) -> int:
        """Bytes of answers that wait in memory for the client to take them."""
        return self._transport.get_write_buffer_size()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; uvicorn's protocol learns of it only if there is room."""
        self._transport = cast("asyncio.Transport", transport)
        self.address = _address(transport)
        self._let_in = self._door.enter(self)
        if self._let_in:
            self._inner.connection_made(transport)
            return
        self._turn_away(503, "busy", "too many connections; try again in a second")
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._door.leave(self)
        self._buffer.clear()
        if self._let_in:
            self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        if self._ended is not None or self._replied is not None:
            self._dropped += len(data)
            if self._dropped > _UNREAD_BYTES:
                self.abort()
            if self._ended is not None or self._transport.is_closing():
                return
        waits = self._asked and self._framing.complete
        if waits and len(self._buffer) + len(data) > _AHEAD_BYTES:
            self._door.refused("sent ahead", self.address)
            self.abort()
            return
        if not self._buffer and not self._asked:
            self._since = time.monotonic()
        self._buffer += data
        if not waits:
            self._pass_on()

    def eof_received(self) -> bool | None:
        """Close, as uvicorn does."""
        return cast("bool | None", self._inner.eof_received()) if self._let_in else None

    def pause_writing(self) -> None:
        """Let the answer wait."""
        if self._let_in:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Let the answer go on."""
        if self._let_in:
            self._inner.resume_writing()

    def end(self) -> None:
        """Close the connection once what was answered is sent."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once, whatever is still to be sent."""
        self._transport.abort()

    def check(self, now: float) -> None:
        """End the connection if its time is over."""
        limits, unsent = self._door.limits, self.unsent
        if not unsent or not self._unsent or unsent < self._unsent:
            self._moved = now
        self._unsent = unsent
        closing = self._transport.is_closing()
        if closing or self._ended is not None:
            self._ended = self._ended or now
            if now - self._moved > _FLUSH or now - self._ended > _FLUSH + limits.seconds:
                self.abort()
            elif not closing and now - self._ended > _LINGER:
                self.end()
        elif now - self._moved > limits.seconds:
            self._door.refused("answer not taken", self.address)
            self.abort()
        elif self._replied is not None:
            if now - self._replied > _FLUSH:
                self.end()
        elif not self._asked:
            self._check_head(now)

    def _check_head(self, now: float) -> None:
        """End a connection on which a head does not come, or not to its end."""
        limits, waited = self._door.limits, now - self._since
        if self._buffer and waited > limits.head_seconds:
            self._door.refused("slow head", self.address)
            self._turn_away(
                408, "timeout", f"the header fields did not arrive within {limits.head_seconds:g} s"
            )
        elif not self._buffer and waited > limits.idle_seconds:
            self.end()

    def _pass_on(self) -> None:
        """Give what belongs to the request to the parser; a next request has to wait."""
        begins = self._framing.in_head
        try:
            some = self._framing.take(self._buffer)
        except MalformedError as error:
            self._buffer.clear()
            self._door.refused(error.code, self.address)
            if self._asked:  # its answer has begun, or will
                self.abort()
            else:
                self._turn_away(error.status, error.code, error.message)
            return
        if begins and not self._framing.in_head:
            self._asked = True
            self._door.mark(self, idle=False)
        if some:
            self._inner.data_received(some)
        if self._replied is not None and self._framing.complete:
            self._next()

    def _answered(self) -> None:
        """Go on, once the rest of the request has come, too."""
        if self._transport.is_closing():
            return
        if self._framing.complete:
            self._next()
        else:  # it was refused unread
            self._replied, self._dropped = time.monotonic(), 0

    def _next(self) -> None:
        self._framing.next()
        self._asked, self._replied = False, None
        self._since = time.monotonic()
        self._door.mark(self, idle=True)
        if self._buffer:
            asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        if self._buffer and not self._asked and not self._transport.is_closing():
            self._pass_on()

    def _turn_away(self, status: int, code: str, message: str) -> None:
        """Answer without uvicorn; what comes is read for a moment, so that the client sees it."""
        answer = error_response(status, code, message, request_id="-")
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nConnection: close\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
        self._transport.write(head.encode("latin-1") + b"\r\n" + bytes(answer.body))
        self._ended = time.monotonic()
        self._dropped = 0


def _address(transport: asyncio.BaseTransport) -> str:
    """Return what counts as one client, "" for this machine, where a proxy brings everyone."""
    peer = transport.get_extra_info("peername")
    try:
        address = ipaddress.ip_address(peer[0].partition("%")[0])
    except (TypeError, ValueError, IndexError, AttributeError):
        return ""
    if address.is_loopback:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
