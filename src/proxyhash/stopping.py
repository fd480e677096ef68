"""Work in a thread that can be told to stop, because nobody waits for what it makes any more.

Whoever starts the work enters `stoppable`; long loops below call `check_stop` now and then.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from proxyhash.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Stop", "check_stop", "stoppable"]


class Stop:
    """Tells one piece of work to stop; any thread may call it.

    Args:
        deadline: moment of `time.monotonic` at which the work stops by itself; None for never.
        unwanted: asked at every check, too: whether nobody wants the result.
    """

    def __init__(
        self,
        deadline: float | None = None,
        *,
        unwanted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._deadline = deadline
        self._unwanted = unwanted
        self._told = False

    def stop(self) -> None:
        """Let the work end at its next check."""
        self._told = True

    @property
    def stopped(self) -> bool:
        """Whether the work should end."""
        late = self._deadline is not None and time.monotonic() > self._deadline
        return self._told or late or self._unwanted()


_CURRENT: ContextVar[Stop | None] = ContextVar("stop", default=None)


@contextmanager
def stoppable(stop: Stop) -> Iterator[None]:
    """Let `check_stop` in this block, and in what it calls in this thread, obey `stop`."""
    token = _CURRENT.set(stop)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def check_stop() -> None:
    """Go on, unless this work has been told to stop.

    Raises:
        StoppedError: it has; what it was making is left undone.
    """
    stop = _CURRENT.get()
    if stop is not None and stop.stopped:
        raise StoppedError("the work was stopped: nobody waits for its result any more")
