"""One state of the served index: the index with its model, worker threads, and who uses it."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from proxyhash.codes import code_bytes, distances, pack
from proxyhash.data import MODALITIES
from proxyhash.data.images import check_image
from proxyhash.encoders.batches import use_one_torch_thread, worker_threads
from proxyhash.errors import UsageError
from proxyhash.search import Query, Searcher
from proxyhash.search.query import NotFoundError, TooManyHitsError
from proxyhash.search.steps import encode, encode_item, find, prepare
from proxyhash.service.batching import MicroBatcher
from proxyhash.service.errors import busy, refusing
from proxyhash.service.labels import Labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxyhash.catalog.thumbnails import ThumbnailStore
    from proxyhash.codes import Codes
    from proxyhash.data import Modality
    from proxyhash.hashing import HashModel
    from proxyhash.index import Index, IndexItem
    from proxyhash.search import Answer, EncodedQuery, SearchOptions
    from proxyhash.search.steps import Search
    from proxyhash.service.monitoring import Metrics
    from proxyhash.service.settings import Limits, Settings

__all__ = ["Served", "Snapshot"]

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 4
_WARM_UP: dict[Modality, Any] = {"text": "warm up", "image": b"P6 1 1 255\n\x80\x80\x80"}
"""Something small to encode before the first request; the image is a PPM of one gray pixel."""


@dataclass(frozen=True, eq=False)
class Served:
    """An answer, and how it came about.

    Attributes:
        answer: what was found.
        encode_ms: time until the code of the query was known, waiting included.
        search_ms: time of the search, waiting included.
        total_ms: both, and the time of the explanation.
        histogram: number of searched codes at distance 0, 1, ..., bits; empty where the index
            cannot count them, None where nobody asked.
        proxies: the nearest classes with their distances, None where nobody asked.
    """

    answer: Answer
    encode_ms: float
    search_ms: float
    total_ms: float
    histogram: list[int] | None = None
    proxies: list[dict[str, Any]] | None = None


class Snapshot:
    """A searcher, the threads that work on it, and the number of requests that use it.

    Inputs are encoded and codes are searched together with those of other requests that arrive at
    the same moment. Files (images) are encoded by one worker per core, so that all cores are busy
    as long as files wait; texts take so little that one thread is enough.

    Made in a thread of its own; everything else is called in the event loop.

    Args:
        source: what is searched; its index is closed with the snapshot unless `keep_index` is set.
        limits: of the service.
        metrics: of the service.
        place: equal for snapshots of the same index folder; None elsewhere.

    Attributes:
        proxies: packed codes of the model's classes, uint8 (C, ceil(bits/8)); None without.
        users: number of requests at work on it.
        keep_index: whether another snapshot has taken the index over.
    """

    def __init__(
        self, source: Searcher, *, limits: Limits, metrics: Metrics, place: object = None
    ) -> None:
        self.source = source
        self.index: Index = source.index
        self.model: HashModel | None = source.model if source.has_model else None
        self.thumbnails: ThumbnailStore | None = source.thumbnails
        self.place = place
        self.users = 0
        self.keep_index = False
        self.proxies: Codes | None = None
        if self.model is not None and self.model.proxies is not None:
            self.proxies = pack(self.model.proxies.codes > 0)
        self.labels = Labels(self.index)
        self._limits = limits
        self._waiting = 0
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="index")
        self._encoders = {
            name: _encoder(source, name, limits=limits, metrics=metrics)
            for name in (source.encoders if self.model is not None else ())
        }
        self._searches: MicroBatcher[Search, Answer] = MicroBatcher(
            partial(find, source),
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

        place = _place(settings.index)
        reuse = old is not None and settings.write and place is not None and place == old.place
        index = old.index if reuse and old else open_index(settings.index, write=settings.write)
        try:
            source = Searcher.over(
                index, settings.index, model=settings.model, device=settings.device
            )
            snapshot = cls(source, limits=settings.limits, metrics=metrics, place=place)
            snapshot.warm_up()
        except BaseException:
            if not reuse:
                index.close()
            raise
        if reuse and old:
            old.keep_index = True
        return snapshot

    async def search(
        self, query: Query, options: SearchOptions, *, explain: bool = False
    ) -> Served:
        """Return the items nearest to a query.

        Raises:
            ApiError: 404, there is no such item; 422, the query or an option cannot be used; 503,
                too many wait.
        """
        start = time.perf_counter()
        encoded = await self.encode(query)
        took = 1000 * (time.perf_counter() - start)
        return await self.find(encoded, options, explain=explain, encode_ms=took)

    async def encode(self, query: Query) -> EncodedQuery:
        """Return a query with its code; raises as `search`."""
        if query.item is not None:
            item = await self.item(query.item)
            with refusing():
                return encode_item(self.source, query, item)
        with refusing():
            if query.code is not None:
                return encode(self.source, [query])[0]
            if query.vector is not None:
                return (await self.run(encode, self.source, [query]))[0]
            return await self._checked_encoder(query).submit(query)

    async def find(
        self,
        query: EncodedQuery,
        options: SearchOptions,
        *,
        explain: bool = False,
        encode_ms: float = 0.0,
    ) -> Served:
        """Return the items nearest to a query whose code is known; raises as `search`."""
        start = time.perf_counter()
        with refusing():
            search = prepare(self.index, query, options, most=self._limits.k)
        with refusing(TooManyHitsError):
            answer = await self._searches.submit(search)
        search_ms = 1000 * (time.perf_counter() - start)
        histogram, proxies = await self.run(self._explain, search) if explain else (None, None)
        total_ms = encode_ms + 1000 * (time.perf_counter() - start)
        return Served(answer, encode_ms, search_ms, total_ms, histogram, proxies)

    async def item(self, id: str) -> IndexItem:  # noqa: A002 -- the index's word
        """Return a stored item.

        Raises:
            ApiError: 404, there is none; 503, too many requests wait.
        """
        with refusing(NotFoundError):
            return await self.run(self.source.item, id)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run work on the index in a thread.

        Raises:
            ApiError: 503, too many requests wait already.
        """
        if self._waiting >= self._limits.waiting:
            raise busy("too many requests are waiting for the index; try again in a second")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))
        finally:
            self._waiting -= 1

    def waiting(self, modality: Modality) -> int:
        """Return the number of inputs of a modality that wait to be encoded."""
        batcher = self._encoders.get(modality)
        return batcher.waiting if batcher else 0

    def encoder_kind(self, modality: Modality) -> str | None:
        """Return the name of an encoder, None where there is none."""
        return self.source.encoder(modality).kind if modality in self._encoders else None

    async def close(self) -> None:
        """Finish what is under way and close the index."""
        for encoder in self._encoders.values():
            await encoder.close()
        await self._searches.close()
        await self.labels.close()
        await asyncio.to_thread(self._threads.shutdown, wait=True)
        if not self.keep_index:
            await asyncio.to_thread(self.index.close)

    def warm_up(self) -> None:
        """Encode and search once, so that the first request need not wait."""
        for name in self._encoders:
            if name in _WARM_UP:
                encode(self.source, [Query.of(name, _WARM_UP[name])])
        nothing = np.zeros((1, code_bytes(self.index.bits)), np.uint8)
        for modality in self.index.modalities:
            self.index.search(nothing, k=1, modality=modality)
        self._nearest_proxies(nothing[0])

    def _checked_encoder(self, query: Query) -> MicroBatcher[Query, EncodedQuery]:
        """Return the queue for a query; refuse it before any work where it is too large."""
        assert query.modality is not None
        if query.modality not in self._encoders:
            self.source.encoder(query.modality)  # says what is missing
        if query.text is not None and len(query.text) > self._limits.text:
            raise UsageError(
                f"the text has {len(query.text)} characters; {self._limits.text} are the most"
            )
        if isinstance(query.image, bytes):
            check_image(query.image, max_pixels=self._limits.pixels)
        return self._encoders[query.modality]

    def _explain(self, search: Search) -> tuple[list[int], list[dict[str, Any]]]:
        code = search.query.code
        histogram: list[int] = []
        if self.index.supports("count_distances"):
            histogram = self.index.count_distances(
                code[None], modality=search.target, filter=search.options.filter
            ).tolist()
        return histogram, self._nearest_proxies(code)

    def _nearest_proxies(self, code: Codes, *, most: int = 12) -> list[dict[str, Any]]:
        """Return the classes whose proxies are nearest to a code; ties in alphabetical order."""
        if self.proxies is None or self.model is None:
            return []
        found = distances(code[None], self.proxies)[0].tolist()
        pairs = sorted(zip(found, self.model.classes, strict=True))[:most]
        return [{"label": label, "distance": distance} for distance, label in pairs]


def _encoder(
    source: Searcher, modality: Modality, *, limits: Limits, metrics: Metrics
) -> MicroBatcher[Query, EncodedQuery]:
    """Return the queue in front of one encoder."""
    kind = MODALITIES[modality]
    heavy: dict[str, Any] = {"workers": worker_threads(), "prepare": use_one_torch_thread}
    return MicroBatcher(
        partial(encode, source),
        name=kind.plural,
        most=limits.encode_batch,
        waiting=limits.waiting,
        observe=metrics.encode_batch.labels(modality).observe,
        **(heavy if kind.is_file else {}),
    )


def _place(uri: str) -> object:
    """Return what stays the same as long as an index folder is the same one, None elsewhere."""
    try:
        folder = Path(uri).stat()
    except OSError:
        return None
    return folder.st_dev, folder.st_ino
