"""A lock that lets nobody starve."""

from __future__ import annotations

import time
from collections import deque
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Turns"]

_PATIENCE = 0.002  # seconds after which a thread gets the next turn, whoever else wants it


class Turns:
    """A lock that a thread may take again while it has it, and that goes round.

    A thread that gives Python's locks back and wants them again at once gets them, though others
    have waited all the while. Here, who has waited a moment comes next. Within that moment the
    lock goes to whoever is running, which saves a change of threads.

    Example:
        >>> with (turns := Turns()), turns:
        ...     turns.taken
        True
    """

    def __init__(self) -> None:
        self._mutex = Lock()
        self._owner: int | None = None
        self._depth = 0
        self._waiting: deque[_Ticket] = deque()

    @property
    def taken(self) -> bool:
        """Whether a thread has the lock."""
        return self._owner is not None

    def __enter__(self) -> Self:
        thread = get_ident()
        with self._mutex:
            if self._owner in (None, thread):
                self._owner = thread
                self._depth += 1
                return self
            ticket = _Ticket(thread)
            self._waiting.append(ticket)
        while True:
            try:
                ticket.called.acquire()
            except BaseException:
                self._give_up(ticket)
                raise
            with self._mutex:
                if self._has(ticket):
                    return self
                self._waiting.appendleft(ticket)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._mutex:
            self._depth -= 1
            if not self._depth:
                self._pass_on()

    def _has(self, ticket: _Ticket) -> bool:
        """Whether the lock is that thread's, which takes it where it is free."""
        if self._owner is None:
            self._owner, self._depth = ticket.thread, 1
        return self._owner == ticket.thread

    def _pass_on(self) -> None:
        """Call the next; the lock is theirs if they have waited long enough."""
        self._owner = None
        if self._waiting:
            ticket = self._waiting.popleft()
            if time.monotonic() - ticket.since > _PATIENCE:
                self._owner, self._depth = ticket.thread, 1
            ticket.called.release()

    def _give_up(self, ticket: _Ticket) -> None:
        """Leave, as an interrupted thread does; what it was given goes to the next."""
        with self._mutex:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            elif self._owner in (None, ticket.thread):
                self._depth = 0
                self._pass_on()


class _Ticket:
    def __init__(self, thread: int) -> None:
        self.thread = thread
        self.since = time.monotonic()
        self.called = Lock()
        self.called.acquire()
