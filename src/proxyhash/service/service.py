"""The running service: its settings, keys, metrics and current snapshot, and reloading."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from proxyhash.catalog.migration import is_settled
from proxyhash.errors import ProxyhashError
from proxyhash.index.store import Store
from proxyhash.service.bodies import Held
from proxyhash.service.errors import ApiError, busy
from proxyhash.service.handover import WriterTurns
from proxyhash.service.health import Health
from proxyhash.service.json_process import JsonDecoder
from proxyhash.service.keys import KeyFile
from proxyhash.service.monitoring import Metrics
from proxyhash.service.originals import Originals
from proxyhash.service.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxyhash.service.settings import Settings

__all__ = ["Service", "settle"]

_LOG = logging.getLogger("proxyhash.service")
_LOOK_EVERY = 0.25
_SETTLING = 5.0
"""Seconds after which a migrated index is opened that its migration has not put in order."""


class Service:
    """State that all requests share.

    Args:
        settings: how the service is run.
        snapshot: served first; default what the settings name.

    Raises:
        ModelError: the model is not the one that made the codes of the index.
        DataError: the index or the keys cannot be read.
        UsageError: there is no folder of originals where the settings name one.
    """

    def __init__(self, settings: Settings, *, snapshot: Snapshot | None = None) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.bodies = Held(settings.limits.body_bytes)
        self.json = JsonDecoder(settings.limits)
        self.keys = KeyFile.read(settings.keys) if settings.keys else None
        self.originals = (
            Originals(settings.originals, most_bytes=settings.limits.original_bytes)
            if settings.originals
            else None
        )
        self._snapshot = snapshot or Snapshot.open(settings, metrics=self.metrics)
        folder = Path(settings.index) if settings.write else None
        self.health = Health(folder if folder is not None and folder.is_dir() else None)
        self._reloading = asyncio.Lock()
        self._retired: set[asyncio.Task[None]] = set()
        self.turns = WriterTurns()
        self.ready = True
        self.metrics.watch(self)

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot that is served now; take a `lease` to work on it."""
        return self._snapshot

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Snapshot]:
        """Let a request work on the snapshot, which stays open until it is done."""
        if not self.ready:
            raise busy("the service is shutting down; try another one", seconds=5)
        snapshot = self._snapshot
        snapshot.users += 1
        try:
            yield snapshot
        finally:
            snapshot.users -= 1

    async def reload(self) -> None:
        """Reopen keys, index and model and serve them; if that fails, nothing changes.

        Requests that are under way finish on what they began with.

        Raises:
            ApiError: 409, what is there now cannot be served; the log says why.
        """
        async with self._reloading:
            old = self._snapshot
            try:
                keys = KeyFile.read(self.settings.keys) if self.settings.keys else None
                new = await asyncio.to_thread(
                    Snapshot.open, self.settings, metrics=self.metrics, old=old
                )
            except (ProxyhashError, OSError) as error:
                self.metrics.reloads.labels("failed").inc()
                self.health.reload_failed = True
                _LOG.error("reload failed", extra={"error": str(error)})
                raise ApiError(
                    409,
                    "reload_failed",
                    "the index or model cannot be served; the service keeps serving what it has, "
                    "and its log says what is wrong",
                ) from error
            new.queues.start_decoding()
            self.keys = keys
            self._snapshot = new
            self.metrics.reloads.labels("done").inc()
            self.health.reload_failed = False
            _LOG.info("reloaded")
            task = asyncio.create_task(_retire(old))
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)
            task.add_done_callback(lambda _: settle())  # when nothing holds the old model any more

    async def watch(self) -> None:
        """Follow migrations of the index to another model, until cancelled.

        What is open stays at the old codes, so the old model goes on answering until the new one
        is loaded. A service that writes makes way for the swap, and writes again after it.
        """
        since: float | None = None
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            index = self._snapshot.index
            if await asyncio.to_thread(getattr, index, "superseded"):
                since = time.monotonic() if since is None else since
                waited = time.monotonic() - since
                if waited > _SETTLING or await asyncio.to_thread(is_settled, self.settings.index):
                    since = time.monotonic()  # of the next try, where this one fails
                    with suppress(ApiError):  # the log has it
                        await self.reload()
                        since = None
                        self.turns.go_on()
            elif isinstance(index, Store) and self.settings.write:
                await self.turns.look(index)

    def start_decoding(self) -> None:
        """Start the processes that decode uploaded images, so that no request waits for one."""
        self._snapshot.queues.start_decoding()

    def stop_decoding(self) -> None:
        """End what uploaded images are being decoded; a service that shuts down does not wait."""
        self._snapshot.queues.stop_decoding()

    async def close(self) -> None:
        """Finish what is under way and close the index."""
        self.ready = False
        await asyncio.gather(*self._retired)
        await self.health.close()
        await self.json.close()
        await _retire(self._snapshot)


async def _retire(snapshot: Snapshot) -> None:
    while snapshot.users:
        await asyncio.sleep(0.02)
    await snapshot.close()


def settle() -> None:
    """Exclude all objects that are alive now from later garbage collections.

    Models and libraries are half a million objects; looking through them again and again takes a
    twentieth of the time in which images are encoded. What went out of use since the last call is
    collected first.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
