"""Micro-batching: what several requests want encoded at one moment goes through together.

A network takes hardly longer for sixty texts than for one. So while a worker thread is busy with
one batch, requests gather for the next, and under load batches grow instead of the waiting time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

from proxyhash.errors import ProxyhashError
from proxyhash.serving.http.errors import busy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["MicroBatcher"]

Input = TypeVar("Input")
Output = TypeVar("Output")


class MicroBatcher(Generic[Input, Output]):
    """One worker thread, and a bounded queue in front of it.

    Args:
        work: gets inputs and returns as many outputs; runs in the thread. Where it raises an error
            of this package for several inputs, they are tried one by one, so that a bad one does
            not spoil the others.
        name: what messages and metrics call it.
        most: inputs that go through together.
        waiting: inputs in the queue; more are refused.
        wait_ms: how long the first input waits for others when the worker is free.
        observe: told the size of every batch.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Input]], Sequence[Output]],
        *,
        name: str,
        most: int = 64,
        waiting: int = 256,
        wait_ms: float = 2.0,
        observe: Callable[[int], None] = lambda _size: None,
    ) -> None:
        self._work = work
        self._most = most
        self._limit = waiting
        self._wait = wait_ms / 1000
        self._observe = observe
        self._queue: deque[tuple[Input, asyncio.Future[Output]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._runner: asyncio.Task[None] | None = None
        self.name = name

    @property
    def waiting(self) -> int:
        """How many inputs are in the queue."""
        return len(self._queue)

    async def submit(self, input_: Input) -> Output:
        """Return the output for an input.

        One whose request is cancelled meanwhile leaves the queue.

        Raises:
            ApiError: 503, the queue is full.
            ProxyhashError: what `work` raised about this input.
        """
        if len(self._queue) >= self._limit:
            self._forget_cancelled()
            if len(self._queue) >= self._limit:
                raise busy(f"too many {self.name} wait to be encoded; try again in a second")
        future: asyncio.Future[Output] = asyncio.get_running_loop().create_future()
        self._queue.append((input_, future))
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        return await future

    async def close(self) -> None:
        """Finish what is in the queue and end the thread."""
        if self._runner is not None:
            await self._runner
        self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        """Encode until the queue is empty."""
        try:
            if self._wait and len(self._queue) < self._most:
                await asyncio.sleep(self._wait)
            while self._queue:
                self._forget_cancelled()
                some = [self._queue.popleft() for _ in range(min(self._most, len(self._queue)))]
                if some:
                    await self._encode(some)
        finally:
            self._runner = None

    async def _encode(self, some: list[tuple[Input, asyncio.Future[Output]]]) -> None:
        self._observe(len(some))
        loop = asyncio.get_running_loop()
        results = await loop.run_in_executor(self._thread, self._outputs, [one for one, _ in some])
        for (_, future), result in zip(some, results, strict=True):
            if future.done():  # its client has gone
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _outputs(self, inputs: list[Input]) -> Sequence[Output | Exception]:
        try:
            return list(self._work(inputs))
        except ProxyhashError as error:
            if len(inputs) == 1:
                return [error]
            return [output for one in inputs for output in self._outputs([one])]
        except Exception as error:  # an error of ours must reach every request, not kill the queue
            return [error] * len(inputs)

    def _forget_cancelled(self) -> None:
        if any(future.done() for _, future in self._queue):
            self._queue = deque(pair for pair in self._queue if not pair[1].done())
