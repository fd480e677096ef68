"""The queues in front of an index: who waits for which worker, and what is done together."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from proxyhash.data import MODALITIES
from proxyhash.encoders.batches import use_one_torch_thread, worker_threads
from proxyhash.errors import UsageError
from proxyhash.index.filters import And, Not, Or
from proxyhash.search.query import NotFoundError, RefusedError
from proxyhash.search.steps import Search, encode, encode_item, find
from proxyhash.service.batching import MicroBatcher
from proxyhash.service.errors import busy, refusing
from proxyhash.service.uploads import Uploads
from proxyhash.stopping import Stop, stoppable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from proxyhash.data import Modality
    from proxyhash.index import IndexItem
    from proxyhash.index.filters import Filter
    from proxyhash.search import Answer, EncodedQuery, Query, Searcher, SearchOptions
    from proxyhash.service.monitoring import Metrics
    from proxyhash.service.settings import Limits

__all__ = ["Queues"]

P = ParamSpec("P")
T = TypeVar("T")
Input = TypeVar("Input")
Output = TypeVar("Output")


_THREADS = 4
_LANES = {
    "searches": _THREADS,
    "filtered searches": 2,
    "searches for many hits": 1,
    "searches with long filters": 1,
}
_SHORT_FILTER = 16
"""Conditions of a filter that counts as short."""

_MANY_HITS, _HITS_TOGETHER = 100, 1000
"""Hits of a search that counts as large, and of a batch: the index is held while they are read."""

_ORDERED, _ALL = 10, 10_000
"""Items of a short-list that count as one hit, and those that all items of an index count as."""


class Queues:
    """The queues in front of one searcher: of its encoders, of its index, and of other work on it.

    Files (images) are encoded by one worker per core, so that all cores are busy as long as files
    wait; texts take so little that one thread is enough.

    Args:
        source: what is searched.
        encoders: modalities that it can encode.
        limits: of the service.
        metrics: told the sizes of batches.
    """

    def __init__(
        self,
        source: Searcher,
        encoders: Collection[Modality],
        *,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self._source = source
        self._limits = limits
        self._waiting = 0
        self._uploads = Uploads(limits) if "image" in encoders else None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="index")
        self._slow = ThreadPoolExecutor(1, thread_name_prefix="slow")
        per_core: dict[str, Any] = {"workers": worker_threads(), "prepare": use_one_torch_thread}
        self._encoders: Mapping[Modality, MicroBatcher[Query, EncodedQuery]] = {
            name: MicroBatcher(
                partial(encode, source),
                name=MODALITIES[name].plural,
                most=limits.encode_batch,
                waiting=limits.waiting,
                observe=metrics.encode_batch.labels(name).observe,
                **(per_core if MODALITIES[name].is_file else {}),
            )
            for name in encoders
        }
        # Filters can be made to cost much, so searches with one never take all workers.
        self._searches: Mapping[str, MicroBatcher[Search, Answer]] = {
            name: MicroBatcher(
                partial(find, source),
                name=name,
                most=limits.search_batch,
                room=partial(_room, most_hits=limits.k),
                waiting=limits.waiting,
                workers=workers,
                share=False,
                alike=attrgetter("kind"),
                observe=metrics.search_batch.observe,
            )
            for name, workers in _LANES.items()
        }

    async def search(self, query: Query, options: SearchOptions) -> tuple[Answer, float, float]:
        """Return an answer, and how many milliseconds encoding and searching took, with waiting.

        Raises:
            ApiError: 404, there is no such item; 422, the query or an option cannot be used; 503,
                too many wait.
        """
        start = time.perf_counter()
        encoded = await self.encode(query)
        middle = time.perf_counter()
        answer = await self.find(encoded, options)
        return answer, 1000 * (middle - start), 1000 * (time.perf_counter() - middle)

    async def encode(self, query: Query) -> EncodedQuery:
        """Return a query with its code; raises as `search`."""
        if query.item is not None:
            item = await self.item(query.item)
            with refusing():
                return encode_item(self._source, query, item)
        with refusing():
            if query.code is not None:
                return encode(self._source, [query])[0]
            if query.vector is not None:
                return (await self.run(encode, self._source, [query]))[0]
            queue = self._encoder(query)
            if self._uploads is not None and isinstance(query.image, bytes):
                query = replace(query, image=await self._uploads.decode(query.image))
            return await queue.submit(query)

    async def find(self, query: EncodedQuery, options: SearchOptions) -> Answer:
        """Return the items nearest to a query whose code is known; raises as `search`."""
        lane = _lane(options)
        with refusing(RefusedError):
            if options.rerank and (options.shortlist or 0) > self._limits.shortlist:
                raise RefusedError(
                    f"shortlist is {options.shortlist}; {self._limits.shortlist} is the most that "
                    "this service orders, or null for all items"
                )
            return await self._searches[lane].submit(Search(query, options, self._limits.k))

    async def item(self, id: str) -> IndexItem:  # noqa: A002 -- the index's word
        """Return a stored item.

        Raises:
            ApiError: 404, there is none; 503, too many requests wait.
        """
        with refusing(NotFoundError):
            return await self.run(self._source.item, id)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run work on the index in a thread; it is told to stop when its request has gone.

        Raises:
            ApiError: 503, too many requests wait already.
        """
        stop = Stop()
        try:
            return await self._run(self._threads, stop, partial(work, *args, **kwargs))
        finally:
            stop.stop()

    async def run_slowly(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run`, for what can take long: all that runs like this shares one thread."""
        stop = Stop()
        try:
            return await self._run(self._slow, stop, partial(work, *args, **kwargs))
        finally:
            stop.stop()

    async def change(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run`, for changes: what has begun is done to its end."""
        return await self._run(self._threads, Stop(), partial(work, *args, **kwargs))

    def waiting(self, modality: Modality) -> int:
        """Return the number of inputs of a modality that wait to be encoded."""
        queue = self._encoders.get(modality)
        return queue.waiting if queue else 0

    def start_decoding(self) -> None:
        """Start the processes that decode uploaded images, so that no request waits for one."""
        if self._uploads is not None:
            self._uploads.start()

    def stop_decoding(self) -> None:
        """End what uploaded images are being decoded, so that nothing waits for it."""
        if self._uploads is not None:
            self._uploads.stop()

    async def close(self) -> None:
        """Finish what waits, and end the threads."""
        if self._uploads is not None:
            await self._uploads.close()
        for queue in self._encoders.values():
            await queue.close()
        for searches in self._searches.values():
            await searches.close()
        for threads in (self._threads, self._slow):
            await asyncio.to_thread(threads.shutdown, wait=True)

    async def _run(self, threads: ThreadPoolExecutor, stop: Stop, work: Callable[[], T]) -> T:
        if self._waiting >= self._limits.waiting:
            raise busy(
                "overloaded: too many requests are waiting for the index; try again in a second"
            )

        def obey() -> T:
            with stoppable(stop):
                return work()

        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, obey)
        finally:
            self._waiting -= 1

    def _encoder(self, query: Query) -> MicroBatcher[Query, EncodedQuery]:
        """Return the queue for a query; refuse before any work what is too large for it."""
        assert query.modality is not None
        if query.modality not in self._encoders:
            self._source.encoder(query.modality)  # says what is missing
        if query.text is not None and len(query.text) > self._limits.text:
            raise UsageError(
                f"the text has {len(query.text)} characters; {self._limits.text} are the most"
            )
        return self._encoders[query.modality]


def _lane(options: SearchOptions) -> str:
    """Return the name of the queue for searches with these options."""
    if options.filter is not None and _conditions(options.filter) > _SHORT_FILTER:
        return "searches with long filters"
    everything = options.rerank is not None and options.shortlist is None
    if options.k is None or options.k > _MANY_HITS or everything:
        return "searches for many hits"
    return "searches" if options.filter is None else "filtered searches"


def _room(search: Search, *, most_hits: int) -> int:
    """Return how many searches like this one are done together."""
    options = search.options
    hits = options.k or most_hits
    if options.rerank is not None:  # ordering an item takes a tenth of returning one
        hits = max(hits, (options.shortlist or _ALL) // _ORDERED)
    return max(1, _HITS_TOGETHER // hits)


def _conditions(filter: Filter) -> int:  # noqa: A002
    match filter:
        case And(parts) | Or(parts):
            return 1 + sum(map(_conditions, parts))
        case Not(part):
            return 1 + _conditions(part)
        case _:
            return 1
