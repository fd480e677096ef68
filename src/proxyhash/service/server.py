"""Server process of a service: one event loop, and signals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from proxyhash.errors import UsageError
from proxyhash.service.app import create_app
from proxyhash.service.connections import Connection, Door
from proxyhash.service.errors import ApiError
from proxyhash.service.service import settle

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from proxyhash.service.service import Service
    from proxyhash.service.settings import Limits

__all__ = ["listen", "serve"]

_LOG = logging.getLogger("proxyhash.service")
_BACKLOG = 1024
_DECODING_SECONDS = 1.0  # an image that takes longer does not hold up shutting down
_OTHER_FILES = 200
_SWITCH = 0.0003
"""Seconds after which a thread that computes lets the event loop go on; Python's 5 ms add up."""


def serve(
    service: Service,
    *,
    port: int = 8080,
    listener: socket.socket | None = None,
    started: Callable[[str], None] = lambda _address: None,
) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is under way; SIGHUP reloads.

    Args:
        service: what is served, and on which host.
        port: 0 for any that is free.
        listener: made by `listen` already, for that host and port.
        started: told the address once requests can come.

    Raises:
        UsageError: the port is taken, or the host is not an address of this machine.
    """
    host, limits = service.settings.host, service.settings.limits
    door = Door(_fitting(limits), service.metrics)
    listener = listener or listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        create_app(service),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        http=cast("type[asyncio.Protocol]", partial(_connection, door)),
        timeout_keep_alive=int(limits.idle_seconds + limits.head_seconds) + 1,  # ours is sooner
        timeout_graceful_shutdown=int(limits.seconds) + 1,
        h11_max_incomplete_event_size=2 * limits.head_bytes,
    )
    service.start_decoding()
    settle()
    sys.setswitchinterval(_SWITCH)
    with listener:
        _Server(config, service, door, lambda: started(address)).run(sockets=[listener])


def _connection(door: Door, **state: Any) -> Connection:
    """Return the protocol of a new connection; uvicorn chooses what parses."""
    return Connection(door, partial(AutoHTTPProtocol, **state))


def _fitting(limits: Limits) -> Limits:
    """Return limits with no more connections than this process may have files open."""
    if sys.platform == "win32":
        return limits
    import resource

    wanted = limits.connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    if soft < wanted:
        limits = replace(limits, connections=max(soft - _OTHER_FILES, soft // 2))
        _LOG.warning(
            "fewer connections: this process may not open more files",
            extra={"connections": limits.connections, "files": soft},
        )
    return limits


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, service: Service, door: Door, started: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._service = service
        self._door = door
        self._tell = started
        self._tasks: set[asyncio.Task[None]] = set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop in order; at a second signal, at once. Either way the process ends by itself."""
        del sig, frame
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if hasattr(signal, "SIGHUP"):
            with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        _LOG.info("serving", extra={"items": len(self._service.snapshot.index)})
        self._tell()

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:  # once a second
            self._door.sweep()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        _LOG.info("shutting down")
        asyncio.get_running_loop().call_later(_DECODING_SECONDS, self._service.stop_decoding)
        await super().shutdown(sockets)
        _LOG.info("stopped")

    def _reload(self) -> None:
        task = asyncio.create_task(self._reload_quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload_quietly(self) -> None:
        with contextlib.suppress(ApiError):  # the log has it
            await self._service.reload()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket to which clients can connect.

    Raises:
        UsageError: the port is taken, or the host is not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(
            f"the service cannot listen on {host}, port {port} ({error}); choose another with "
            "--port or --host"
        ) from error
    return listener
