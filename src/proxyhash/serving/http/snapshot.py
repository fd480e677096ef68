"""What is served at one moment: an index, the model of its codes, and its thumbnails."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from proxyhash.codes import code_bytes, distances, pack
from proxyhash.serving.http.encoding import Encoding
from proxyhash.serving.http.errors import busy
from proxyhash.serving.index_folder import IndexFolder
from proxyhash.serving.index_searcher import IndexSearcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxyhash.codes import Codes
    from proxyhash.hashing import HashModel
    from proxyhash.index import Index
    from proxyhash.serving.http.metrics import Metrics
    from proxyhash.serving.http.settings import Limits, Settings
    from proxyhash.serving.thumbnail_store import ThumbnailStore

__all__ = ["Snapshot"]

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 4
_LABELS = 200
_COUNTED_AT_ONCE = 50_000
_BATCH = 500
_REST = 0.02


class Snapshot:
    """One index with its model and thumbnails, the threads that work on them, and who uses it.

    Made in a thread of its own; everything else is called in the event loop.

    Args:
        index: what is searched; closed with the snapshot unless `keep_index` is set.
        model: makes the codes of queries, or None.
        thumbnails: small pictures, or None.
        limits: of the service.
        metrics: of the service.

    Attributes:
        proxies: packed codes of the model's categories, uint8 (C, ceil(bits/8)); None without.
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
        self.labels: list[dict[str, Any]] = []
        self._limits = limits
        self._waiting = 0
        self._closing = False
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="index")

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

    async def close(self) -> None:
        """Finish what is under way and close the index."""
        self._closing = True
        await self.encoding.close()
        await asyncio.to_thread(self._threads.shutdown, wait=True)
        if not self.keep_index:
            await asyncio.to_thread(self.index.close)

    def warm_up(self) -> None:
        """Search once, so that the first request need not wait, and count the labels.

        A large index counts them while it serves already: some minute a million items.
        """
        nothing = np.zeros((1, code_bytes(self.index.bits)), np.uint8)
        for modality in self.index.modalities:
            self.index.search(nothing, k=1, modality=modality)
        self.nearest_proxies(nothing[0])
        if len(self.index) <= _COUNTED_AT_ONCE:
            self.count_labels()
        else:
            self._threads.submit(self.count_labels, rest=_REST)

    def count_labels(self, *, rest: float = 0.0) -> None:
        """Count the values of the payload's `labels`, and keep the most frequent ones.

        Args:
            rest: seconds after each batch of items in which searches need not share the processor.
        """
        counts: Counter[str] = Counter()
        for batch in self.index.items(batch=_BATCH):
            if self._closing:
                return
            time.sleep(rest)
            for item in batch:
                labels = item.payload.get("labels")
                if isinstance(labels, list):
                    counts.update({label for label in labels if isinstance(label, str)})
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        self.labels = [{"name": name, "count": count} for name, count in ordered[:_LABELS]]

    def nearest_proxies(self, code: Codes, *, most: int = 12) -> list[dict[str, Any]]:
        """Return the categories whose proxies are nearest to a code, the alphabet deciding ties."""
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
