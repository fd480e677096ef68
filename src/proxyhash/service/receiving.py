"""Taking a request's body in, and noticing when its client has gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxyhash.service.errors import ApiError

if TYPE_CHECKING:
    from starlette.types import Message, Receive

__all__ = ["BoundedBody"]


class BoundedBody:
    """The body of one request, of which no more than `most` bytes are taken.

    Once it is complete, the task that answers is cancelled when the client goes away.

    Args:
        receive: gives the parts.
        most: bytes.

    Attributes:
        complete: whether all of it is here.
        gone: whether the client went away before its answer.
    """

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._most = most
        self._taken = 0
        self._watch: asyncio.Task[None] | None = None
        self._stopped = False
        self.complete = False
        self.gone = False

    def check_announced(self, content_length: str | None) -> None:
        """Refuse a body that says itself that it is too large, before any of it is taken."""
        if content_length is not None and content_length.isdigit():
            self._check(int(content_length[:20]))

    async def receive(self) -> Message:
        """Return the next part, as ASGI's `receive`."""
        if self.complete:
            await asyncio.Event().wait()  # until the watch below cancels it
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.complete = self.gone = True
            return message
        self._taken += len(message.get("body", b""))
        self._check(self._taken)
        if not message.get("more_body"):
            self.complete = True
            task = asyncio.current_task()
            assert task is not None
            self._watch = asyncio.create_task(self._watch_for_end(task))
        return message

    def stop(self) -> None:
        """Watch no longer: the answer is out."""
        self._stopped = True
        if self._watch is not None:
            self._watch.cancel()

    async def _watch_for_end(self, answering: asyncio.Task[object]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._stopped:
            self.gone = True
            answering.cancel()

    def _check(self, size: int) -> None:
        if size > self._most:
            raise ApiError(
                413,
                "too_large",
                f"the body has more than {self._most:,} bytes; send less",
                headers={"Connection": "close"},
            )
