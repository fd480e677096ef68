"""What is served at one moment: an index, the model of its codes, and its thumbnails."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from proxyhash.catalog.folder import IndexFolder
from proxyhash.codes import code_bytes, distances, pack
from proxyhash.search.index_searcher import IndexSearcher
from proxyhash.service.batching import MicroBatcher
from proxyhash.service.encoding import Encoding
from proxyhash.service.errors import busy
from proxyhash.service.finding import Found, Search, find
from proxyhash.service.labels import Labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxyhash.catalog.thumbnails import ThumbnailStore
    from proxyhash.codes import Codes
    from proxyhash.hashing import HashModel
    from proxyhash.index import Index
    from proxyhash.service.metrics import Metrics
    from proxyhash.service.settings import Limits, Settings

__all__ = ["Snapshot"]

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 4


class Snapshot:
    """One index with its model and thumbnails, the threads that work on them, and who uses it.

    Made in a thread of its own; everything else is called in the event loop.

    Args:
        index: what is searched; closed with the snapshot unless `keep_index` is set.
        model: makes the codes of queries, or None.
        thumbnails: small images, or None.
        limits: of the service.
        metrics: of the service.

    Attributes:
        proxies: packed codes of the model's classes, uint8 (C, ceil(bits/8)); None without.
        users: requests that are at work on it.
        keep_index: whether another snapshot has taken the index over.
    """

    def __init__(
        self,
        index: Index,
        model: HashModel | None,
        thumbnails: ThumbnailStore | None,
        *,
        limits: Limits,
        metrics: Metrics,
        place: object = None,
    ) -> None:
        self.index = index
        self.model = model
        self.thumbnails = thumbnails
        self.place = place
        self.encoding = Encoding(model, limits=limits, metrics=metrics)
        self.users = 0
        self.keep_index = False
        self.proxies: Codes | None = None
        if model is not None and model.proxies is not None:
            self.proxies = pack(model.proxies.codes > 0)
        self.labels = Labels(index)
        self._limits = limits
        self._waiting = 0
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="index")
        self._searches: MicroBatcher[Search, Found] = MicroBatcher(
            partial(find, index, thumbnails),
            name="searches",
            most=limits.search_batch,
            waiting=limits.waiting,
            workers=_THREADS,
            share=False,
            alike=attrgetter("kind"),
            observe=metrics.search_batch.observe,
        )

    @classmethod
    def open(cls, settings: Settings, *, metrics: Metrics, old: Snapshot | None = None) -> Snapshot:
        """Open the index and load the model.

        An index folder has one writer at a time, so where the folder is still the same, the index
        that `old` has open is taken over.

        Raises:
            ModelError: the model is not the one that made the codes of the index.
            DataError: there is no index, or it cannot be read.
            ProxyhashError: another process is writing it.
        """
        from proxyhash.index.open import open_index

        folder = IndexFolder.at(settings.index)
        place = _place(settings.index)
        reuse = old is not None and settings.write and place is not None and place == old.place
        index = old.index if reuse and old else open_index(settings.index, write=settings.write)
        try:
            source = settings.model or (folder.model if folder else None)
            searcher = IndexSearcher(
                index, name=settings.index, model=source, device=settings.device
            )
            snapshot = cls(
                index,
                searcher.model if source else None,
                folder.thumbnails if folder else None,
                limits=settings.limits,
                metrics=metrics,
                place=place,
            )
            snapshot.encoding.warm_up()
            snapshot.warm_up()
        except BaseException:
            if not reuse:
                index.close()
            raise
        if reuse and old:
            old.keep_index = True
        return snapshot

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run work on the index in a thread.

        Raises:
            ApiError: 503, too much waits already.
        """
        if self._waiting >= self._limits.waiting:
            raise busy("too many requests wait for the index; try again in a second")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))
        finally:
            self._waiting -= 1

    async def find(self, search: Search) -> Found:
        """Search, together with what others search for in the same way at the same moment.

        Raises:
            ApiError: 422, it finds more than an answer has room for; 503, too many wait.
        """
        return await self._searches.submit(search)

    async def close(self) -> None:
        """Finish what is under way and close the index."""
        await self.encoding.close()
        await self._searches.close()
        await self.labels.close()
        await asyncio.to_thread(self._threads.shutdown, wait=True)
        if not self.keep_index:
            await asyncio.to_thread(self.index.close)

    def warm_up(self) -> None:
        """Search once, so that the first request need not wait."""
        nothing = np.zeros((1, code_bytes(self.index.bits)), np.uint8)
        for modality in self.index.modalities:
            self.index.search(nothing, k=1, modality=modality)
        self.nearest_proxies(nothing[0])

    def nearest_proxies(self, code: Codes, *, most: int = 12) -> list[dict[str, Any]]:
        """Return the classes whose proxies are nearest to a code, the alphabet deciding ties."""
        if self.proxies is None or self.model is None:
            return []
        found = distances(code[None], self.proxies)[0].tolist()
        pairs = sorted(zip(found, self.model.classes, strict=True))[:most]
        return [{"label": label, "distance": distance} for distance, label in pairs]


def _place(uri: str) -> object:
    """Return what stays the same as long as an index folder is the same one, None elsewhere."""
    try:
        folder = Path(uri).stat()
    except OSError:
        return None
    return folder.st_dev, folder.st_ino
