"""Messages between the processes of a run, over the store of torchrun, and how all of them end.

The store belongs to torchrun, so that words stay there when the process that left them has gone. An
error of one process lies under a key that all others look at while they wait, and when a
connection breaks: so all of them end with the same message and exit code.
"""

from __future__ import annotations

import json
import signal
import time
from contextlib import suppress
from socket import gethostname
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

from proxyhash import errors
from proxyhash.errors import InterruptedRunError, ProxyhashError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch._C._distributed_c10d import Store

__all__ = ["GRACE_SECONDS", "Messages"]

GRACE_SECONDS = 3.0
"""Seconds that a process waits for the words of others before it names those that are silent."""
_POLL_SECONDS = 0.05
_FAILED = "failed"


class Messages:
    """JSON values by key that one process leaves for the others.

    Attributes:
        silent: after `end`: whether another process of this machine says what happened.
    """

    def __init__(self, store: Store, *, rank: int, world: int, local_rank: int) -> None:
        self.silent = False
        self._store = store
        self._rank, self._world, self._local_rank = rank, world, local_rank
        self._count = 0

    def next_key(self, kind: str) -> str:
        """Return a new key, the same in all processes, which ask for keys in the same order."""
        self._count += 1
        return f"{kind} {self._count}"

    def put(self, key: str, value: Any = None) -> None:
        """Leave a JSON value under a key."""
        self._store.set(key, json.dumps(value))

    def next_number(self, key: str) -> int:
        """Return 0 to the process that asks first, 1 to the next, and so on."""
        return int(self._store.add(key, 1)) - 1

    def wait(self, key: str) -> Any:
        """Return the value that some process leaves under `key`, whenever that is.

        Raises:
            ProxyhashError: one of them failed meanwhile.
        """
        while not self._store.check([key]):
            if found := self._failure():
                raise _rebuilt(found)
            time.sleep(_POLL_SECONDS)
        return json.loads(self._store.get(key))

    def end(self, error: BaseException, *, disconnect: Callable[[], None]) -> BaseException:
        """Tell the others that this process ends; return the error that all of them end with.

        Args:
            error: What happened here, if it is no more than that a connection broke.
            disconnect: Closes the connections of this process, for which others may wait.
        """
        with suppress(ValueError):  # outside the main thread there are no handlers
            # torchrun ends all processes when one has ended, and would cut the last words short.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        others = [f"left {rank}" for rank in range(self._world) if rank != self._rank]
        lost = _is_lost(error)
        try:
            self.put(f"left {self._rank}")
            said = None if lost else self._publish(error)
            disconnect()
            deadline = time.monotonic() + GRACE_SECONDS
            while time.monotonic() < deadline and not self._store.check(others):
                if lost and (said := self._failure()):
                    break
                time.sleep(_POLL_SECONDS)
            if said is None and (said := self._failure()) is None:
                error = self._lost([name for name in others if not self._store.check([name])])
                said = self._publish(error)
        except (RuntimeError, ValueError):  # the store has gone, and torchrun with it
            return self._lost([]) if lost else error
        if said["rank"] == self._rank:
            return error
        self.silent = said["host"] == gethostname() or self._local_rank > 0
        return _rebuilt(said, error)

    def _failure(self) -> dict[str, Any] | None:
        """Return what the first process that failed has said."""
        if not self._store.check([_FAILED]):
            return None
        found: dict[str, Any] = json.loads(self._store.get(_FAILED))
        return found

    def _publish(self, error: BaseException) -> dict[str, Any]:
        """Say why this process ends, and return what the first one that ended said."""
        known = isinstance(error, ProxyhashError)
        said = {
            "rank": self._rank,
            "host": gethostname(),
            "kind": type(error).__name__ if known else "ProxyhashError",
            "text": str(error) if known else f"unexpected {type(error).__name__}: {error}",
        }
        if isinstance(error, KeyboardInterrupt):
            said |= {"kind": InterruptedRunError.__name__, "text": "stopped by Ctrl-C"}
        first: dict[str, Any] = json.loads(self._store.compare_set(_FAILED, "", json.dumps(said)))
        return first

    def _lost(self, silent: list[str]) -> ProxyhashError:
        """Return the error of a connection that broke, naming the processes that said nothing."""
        names = [name.removeprefix("left ") for name in silent]
        who = f"process {' and '.join(names)} of {self._world}" if names else "another process"
        return ProxyhashError(
            f"{who} ended without a word: it was killed, ran out of memory, or its machine "
            "cannot be reached. What was saved is kept; run the same command again, with --resume "
            "where it is a training"
        )


def _is_lost(error: BaseException) -> bool:
    """Whether an error says no more than that a connection to another process broke."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and "gloo" in str(error)


def _rebuilt(said: Mapping[str, Any], own: BaseException | None = None) -> BaseException:
    """Return the error that another process ended with, or `own` where that says the same."""
    if isinstance(own, ProxyhashError) and str(own).endswith(said["text"]):
        return own
    kind = getattr(errors, said["kind"], ProxyhashError)
    if not (isinstance(kind, type) and issubclass(kind, ProxyhashError)):
        kind = ProxyhashError
    if issubclass(kind, InterruptedRunError):
        return kind(said["text"])
    place = f"process {said['rank']} on {said['host']}"
    return kind(said["text"] if said["text"].startswith(place) else f"{place}: {said['text']}")
