"""Micro-batching: what several requests want at the same moment is done together.

A network takes hardly longer for sixty texts than for one, and a scan for sixty queries. So while
all workers are busy, requests gather for the next batch, and under load batches grow instead of the
waiting time. `Queues` are the queues of a service, each a `MicroBatcher`.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar

from proxyhash.errors import ProxyhashError, StoppedError
from proxyhash.service.errors import busy
from proxyhash.stopping import Stop, stoppable

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence


__all__ = ["MicroBatcher"]

P = ParamSpec("P")
T = TypeVar("T")
Input = TypeVar("Input")
Output = TypeVar("Output")


class MicroBatcher(Generic[Input, Output]):
    """Worker threads, and a bounded queue in front of them.

    Args:
        work: gets inputs and returns as many outputs, or errors in their place; runs in a worker.
            Where it raises an error of this package for several inputs, they are tried one by one,
            so that a bad one does not spoil the others.
        name: used in messages and metrics.
        most: inputs that go through together.
        room: how many like this one, at most; default any number.
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
        room: Callable[[Input], int] = lambda _input: sys.maxsize,
        waiting: int = 256,
        workers: int = 1,
        share: bool = True,
        alike: Callable[[Input], Hashable] = lambda _input: None,
        prepare: Callable[[], None] = lambda: None,
        observe: Callable[[int], None] = lambda _size: None,
    ) -> None:
        self._work = work
        self._most = most
        self._room = room
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
        most = min(self._most, self._room(self._queue[0][0]))
        some = alike[: min(most, -(-len(alike) // self._parts))]
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
