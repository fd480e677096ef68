"""Decoding of uploaded images: in processes that can be killed, beside the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

from proxyhash.data.decoders import Decoders, DecodingStoppedError, can_isolate
from proxyhash.data.images import open_untrusted
from proxyhash.encoders.batches import worker_threads
from proxyhash.service.errors import busy

if TYPE_CHECKING:
    from PIL.Image import Image

    from proxyhash.service.settings import Limits

__all__ = ["Uploads"]

_NICENESS = 10  # the event loop and plain searches go first
_SPARE = 2  # processes beyond one per core, so that slow images do not keep the others waiting


class Uploads:
    """Decoding processes of a service.

    An image whose request has ended, by its client or by its time limit, is not decoded further.

    Args:
        limits: of the service.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._decoders = Decoders(worker_threads() + _SPARE, niceness=_NICENESS)
        self._threads = ThreadPoolExecutor(self._decoders.count, thread_name_prefix="uploads")
        self._waiting = 0
        self._stopping = Event()

    def start(self) -> None:
        """Start the processes now, so that no request waits for one."""
        if can_isolate():
            self._decoders.start()

    async def decode(self, content: bytes) -> Image:
        """Return the image of an uploaded file.

        Raises:
            ApiError: 503, too many images wait, or the service is shutting down.
            ImageError: it cannot be decoded within the limits.
        """
        if self._waiting >= self._limits.waiting:
            raise busy("overloaded: too many images are waiting; try again in a second")
        gone = Event()
        work = partial(
            open_untrusted,
            content,
            self._decoders,
            limits=self._limits.images,
            wanted=lambda: not gone.is_set() and not self._stopping.is_set(),
        )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except DecodingStoppedError as error:
            raise busy("the service is shutting down; try another one", seconds=5) from error
        finally:
            gone.set()
            self._waiting -= 1

    def stop(self) -> None:
        """End what is being decoded; returns at once."""
        self._stopping.set()

    async def close(self) -> None:
        """End the processes."""
        self.stop()
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._decoders.close)
