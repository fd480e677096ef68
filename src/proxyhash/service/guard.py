"""A process that watches over the service and starts it again where a signal ended it.

Nothing in a process can survive a mapped file that is cut short under it or lies on a failing disk
(SIGBUS), a fault in compiled code (SIGSEGV), or the system's need for memory (SIGKILL).
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from proxyhash.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["guard"]

_LOG = logging.getLogger("proxyhash.service")
_PARENT_DIED = 1  # PR_SET_PDEATHSIG
_REASONS = {
    "SIGBUS": "a file of the index was cut short or its disk fails; run `proxyhash index verify`",
    "SIGSEGV": "a fault in compiled code; run `proxyhash index verify`, then report it",
    "SIGKILL": "it was killed, perhaps for want of memory",
}


def guard(
    *,
    quick: float = 30.0,
    tries: int = 5,
    pause: float = 0.5,
    wait: Callable[[float], None] = time.sleep,
) -> bool:
    """Go on in a process of its own, which is started again when a signal ended it.

    Returns True in that process, the first time, and False when it is started again. The process
    that watches never returns: it passes signals on, and exits as the watched one does.

    Args:
        quick: seconds within which an end counts as a failed try.
        tries: failed tries in a row after which it gives up, with exit code 1.
        pause: seconds before the second try; doubled each time.
        wait: lets them pass.

    Raises:
        UsageError: the system cannot do this.
    """
    if not hasattr(os, "fork"):
        raise UsageError("--guard needs a Unix system; let the system's service manager restart it")
    watch = _Watch()
    failed, first = 0, True
    while True:
        began = time.monotonic()
        if watch.start():
            return first
        first = False
        status = watch.wait()
        code = os.waitstatus_to_exitcode(status)
        if code >= 0 or watch.stopping:
            sys.exit(code if code >= 0 else 128 - code)
        failed = failed + 1 if time.monotonic() - began < quick else 1
        name = signal.Signals(-code).name
        reason = _REASONS.get(name, "a signal ended it")
        _LOG.error("the service crashed", extra={"signal": name, "reason": reason, "try": failed})
        if failed >= tries:
            _LOG.error("the service is not started again", extra={"tries": failed})
            sys.exit(1)
        wait(pause * 2 ** (failed - 1))


class _Watch:
    """The process that watches, and the one that is watched."""

    def __init__(self) -> None:
        self.stopping = False
        self._child = 0
        self._before: dict[int, Any] = {}

    def start(self) -> bool:
        """Start the other process, and return whether this is it."""
        if not self._before:
            for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                self._before[each] = signal.signal(each, self._pass_on)
        me = os.getpid()
        self._child = os.fork()
        if self._child:
            return False
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.setpgid(0, 0)  # Ctrl-C reaches the one that watches, which passes it on once
        if sys.platform == "linux":
            ctypes.CDLL(None, use_errno=True).prctl(_PARENT_DIED, signal.SIGTERM)
        if os.getppid() != me:  # it died meanwhile
            sys.exit(1)
        return True

    def wait(self) -> int:
        """Return the status with which the other process ends."""
        _, status = os.waitpid(self._child, 0)
        self._child = 0
        return status

    def _pass_on(self, number: int, frame: object) -> None:
        del frame
        self.stopping |= number != signal.SIGHUP
        if self._child:
            os.kill(self._child, number)
        elif self.stopping:  # between two tries
            sys.exit(128 + number)
