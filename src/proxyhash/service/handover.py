"""Turns of the service and of a migration at writing an index folder, which has one writer."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from proxyhash.catalog.migration import wants_handover
from proxyhash.errors import MigratedError, ProxyhashError
from proxyhash.index.store.disk import BusyError
from proxyhash.service.errors import busy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxyhash.index.store import Store

__all__ = ["WriterTurns"]

_LOG = logging.getLogger("proxyhash.service")
_PATIENCE = 10.0
"""Seconds that a change waits for its turn before it is refused."""


class WriterTurns:
    """Lets a migration have the index for its last step, while changes wait."""

    def __init__(self) -> None:
        self._free = asyncio.Event()
        self._free.set()
        self._changing = 0
        self._yielded = False

    @asynccontextmanager
    async def change(self) -> AsyncIterator[None]:
        """Let a request change the index.

        Raises:
            ApiError: 503, a migration has it.
        """
        try:
            await asyncio.wait_for(self._free.wait(), _PATIENCE)
        except TimeoutError:
            raise busy(
                "the index is being migrated to another model; try again", seconds=2
            ) from None
        self._changing += 1
        try:
            yield
        finally:
            self._changing -= 1

    async def look(self, store: Store) -> None:
        """Make way for a migration that asks, and take the index back when it is done."""
        wanted = await asyncio.to_thread(wants_handover, store.folder)
        if wanted and not self._yielded:
            self._free.clear()
            while self._changing:
                await asyncio.sleep(0.01)
            try:
                await asyncio.to_thread(store.yield_writing)
                self._yielded = True
                _LOG.info("making way for a migration")
            except ProxyhashError as error:
                _LOG.warning("no way is made for a migration", extra={"error": str(error)})
                self._free.set()
        elif self._yielded and not wanted:
            try:
                await asyncio.to_thread(store.claim_writing)
            except (BusyError, MigratedError):
                return  # the next look tries again, or the service reloads
            self.go_on()

    def go_on(self) -> None:
        """Let changes go on, in the index that is served now."""
        self._yielded = False
        self._free.set()
