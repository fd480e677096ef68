"""Map a function over inputs in threads, in order, so that Ctrl-C always ends it."""

from __future__ import annotations

import _thread
from collections import deque
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["map_in_threads"]

Input = TypeVar("Input")
Result = TypeVar("Result")
Answer: TypeAlias = "SimpleQueue[tuple[Result, None] | tuple[None, BaseException]]"


@contextmanager
def map_in_threads(
    function: Callable[[Input], Result],
    inputs: Iterable[Input],
    threads: int,
    *,
    ahead: int = 8,
) -> Iterator[Iterator[Result]]:
    """Make an iterator of `function(each)` for every input, in their order, from several threads.

    Inputs are taken as they are needed, `ahead` per thread at most before their results are. What
    the function raises is raised in place of its result. When the block ends, also by an error or
    Ctrl-C, no further call begins, and those that run are waited for.

    An executor of `concurrent.futures` waits in conditions, written in Python. A signal that
    arrives inside of one leaves its lock in the wrong state: instead of a KeyboardInterrupt, there
    is a RuntimeError or no end. Here the caller's thread waits in nothing but locks of C.
    """
    tasks: SimpleQueue[tuple[Input, Answer[Result]] | None] = SimpleQueue()
    waiting: deque[Answer[Result]] = deque()
    ended: SimpleQueue[None] = SimpleQueue()
    stopped = False

    def work() -> None:
        while (task := tasks.get()) is not None and not stopped:
            each, answer = task
            try:
                answer.put((function(each), None))
            except BaseException as error:
                answer.put((None, error))
        ended.put(None)

    def first() -> Result:
        result, error = waiting.popleft().get()
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def results() -> Iterator[Result]:
        for each in inputs:
            waiting.append(SimpleQueue())
            tasks.put((each, waiting[-1]))
            if len(waiting) >= ahead * threads:
                yield first()
        while waiting:
            yield first()

    started = 0
    try:
        for _ in range(threads):
            _thread.start_new_thread(work, ())  # threading.Thread waits in a condition as well
            started += 1
        yield results()
    finally:
        stopped = True
        for _ in range(threads):
            tasks.put(None)
        for _ in range(started):
            ended.get()
