"""Micro-batching: what several requests want at the same moment is done together.

A network takes hardly longer for sixty texts than for one, and a scan for sixty queries. So while
all workers are busy, requests gather for the next batch, and under load batches grow instead of the
waiting time. `Queues` are the queues of a service, `MicroBatcher` is one of them.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from operator import attrgetter
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from proxyhash.data import MODALITIES
from proxyhash.encoders.batches import use_one_torch_thread, worker_threads
from proxyhash.errors import ProxyhashError, StoppedError, UsageError
from proxyhash.index.filters import And, Not, Or
from proxyhash.search.query import NotFoundError, RefusedError
from proxyhash.search.steps import Search, encode, encode_item, find
from proxyhash.service.errors import busy, refusing
from proxyhash.service.uploads import Uploads
from proxyhash.stopping import Stop, stoppable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Mapping, Sequence

    from proxyhash.data import Modality
    from proxyhash.index import IndexItem
    from proxyhash.index.filters import Filter
    from proxyhash.search import Answer, EncodedQuery, Query, Searcher, SearchOptions
    from proxyhash.service.monitoring import Metrics
    from proxyhash.service.settings import Limits

__all__ = ["MicroBatcher", "Queues"]

P = ParamSpec("P")
T = TypeVar("T")
Input = TypeVar("Input")
Output = TypeVar("Output")


_THREADS = 4
_LANES = {"searches": _THREADS, "filtered searches": 2, "searches with long filters": 1}
_SHORT_FILTER = 16
"""Conditions of a filter that counts as short."""


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
        lane = _lane(options.filter)
        with refusing(RefusedError):
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


class MicroBatcher(Generic[Input, Output]):
    """Worker threads, and a bounded queue in front of them.

    Args:
        work: gets inputs and returns as many outputs, or errors in their place; runs in a worker.
            Where it raises an error of this package for several inputs, they are tried one by one,
            so that a bad one does not spoil the others.
        name: used in messages and metrics.
        most: inputs that go through together.
        waiting: inputs in the queue; more are refused.
        workers: threads that take batches.
        share: whether each takes its share of what waits, or all that fits a batch.
        alike: a batch has inputs of which this is equal; default any.
        prepare: called once in each of them before its first batch.
        observe: told the size of every batch.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Input]], Sequence[Output | Exception]],
        *,
        name: str,
        most: int = 64,
        waiting: int = 256,
        workers: int = 1,
        share: bool = True,
        alike: Callable[[Input], Hashable] = lambda _input: None,
        prepare: Callable[[], None] = lambda: None,
        observe: Callable[[int], None] = lambda _size: None,
    ) -> None:
        self._work = work
        self._most = most
        self._limit = waiting
        self._observe = observe
        self._queue: deque[tuple[Input, asyncio.Future[Output]]] = deque()
        self._lock = Lock()
        self._workers = workers
        self._parts = workers if share else 1
        self._alike = alike
        self._running = 0
        self._calling = False
        self._closed = False
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix=name, initializer=prepare)
        self.name = name

    @property
    def waiting(self) -> int:
        """The number of inputs in the queue."""
        return len(self._queue)

    async def submit(self, input_: Input) -> Output:
        """Return the output for an input.

        One whose request is cancelled meanwhile leaves the queue; a batch of which all are is told
        to stop.

        Raises:
            ApiError: 503, the queue is full.
            ProxyhashError: what `work` raised about this input.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Output] = loop.create_future()
        with self._lock:
            if len(self._queue) >= self._limit:
                self._forget_cancelled()
                if len(self._queue) >= self._limit:
                    raise busy(
                        f"overloaded: too many {self.name} are waiting; try again in a second"
                    )
            self._queue.append((input_, future))
        if not self._calling:  # those who come at the same moment are let in before a worker looks
            self._calling = True
            loop.call_soon(self._call, loop)
        return await future

    async def close(self) -> None:
        """Finish what is in the queue and end the threads."""
        self._wake(asyncio.get_running_loop())  # for who came a moment ago
        with self._lock:
            self._closed = True
        await asyncio.to_thread(self._threads.shutdown)

    def _call(self, loop: asyncio.AbstractEventLoop) -> None:
        self._calling = False
        self._wake(loop)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let one more worker look, where something waits and not all are at work."""
        with self._lock:
            if not self._queue or self._running == self._workers or self._closed:
                return
            self._running += 1
            self._threads.submit(self._drain, loop)

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        """Work until the queue is empty; in a worker, which does not wait for the event loop."""
        while some := self._take():
            self._wake(loop)  # for what this one leaves
            futures = [future for _, future in some]
            with stoppable(Stop(unwanted=partial(_all_gone, futures))):
                outputs = self._outputs([input_ for input_, _ in some])
            loop.call_soon_threadsafe(_deliver, futures, outputs)

    def _take(self) -> list[tuple[Input, asyncio.Future[Output]]]:
        """Return the next batch; without any, the worker is done."""
        with self._lock:
            self._forget_cancelled()
            some = self._next()
            self._running -= not some
        if some:
            self._observe(len(some))
        return some

    def _next(self) -> list[tuple[Input, asyncio.Future[Output]]]:
        """Take those out of the queue that are like the first."""
        if not self._queue:
            return []
        kind = self._alike(self._queue[0][0])
        alike = [pair for pair in self._queue if self._alike(pair[0]) == kind]
        some = alike[: min(self._most, -(-len(alike) // self._parts))]
        taken = {id(pair) for pair in some}
        self._queue = deque(pair for pair in self._queue if id(pair) not in taken)
        return some

    def _outputs(self, inputs: list[Input]) -> Sequence[Output | Exception]:
        try:
            return list(self._work(inputs))
        except StoppedError as error:
            return [error] * len(inputs)
        except ProxyhashError as error:
            if len(inputs) == 1:
                return [error]
            return [output for one in inputs for output in self._outputs([one])]
        except Exception as error:  # an error of ours must reach every request, not kill the queue
            return [error] * len(inputs)

    def _forget_cancelled(self) -> None:
        if any(future.done() for _, future in self._queue):
            self._queue = deque(pair for pair in self._queue if not pair[1].done())


def _lane(filter: Filter | None) -> str:  # noqa: A002
    """Return the name of the queue for searches with a filter."""
    if filter is None:
        return "searches"
    short = _conditions(filter) <= _SHORT_FILTER
    return "filtered searches" if short else "searches with long filters"


def _conditions(filter: Filter) -> int:  # noqa: A002
    match filter:
        case And(parts) | Or(parts):
            return 1 + sum(map(_conditions, parts))
        case Not(part):
            return 1 + _conditions(part)
        case _:
            return 1


def _all_gone(futures: Sequence[asyncio.Future[Output]]) -> bool:
    """Whether nobody waits any more: clients left, or their time was over."""
    return all(future.done() for future in futures)


def _deliver(
    futures: Sequence[asyncio.Future[Output]], outputs: Sequence[Output | Exception]
) -> None:
    for future, output in zip(futures, outputs, strict=True):
        if future.done():  # its client has gone
            continue
        if isinstance(output, Exception):
            future.set_exception(output)
        else:
            future.set_result(output)
