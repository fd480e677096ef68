"""Run one case in a process of its own, and tell a signal from a hang from an answer."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BAD", "expect", "run_forked"]

BAD = ("signal", "hang", "wrong", "unexpected")
"""Beginnings of outcomes that must not be: anything else says how a case ended well."""


def expect(fact: bool, otherwise: str) -> None:
    """End a case as wrong unless something is so."""
    assert fact, otherwise


def run_forked(work: Callable[[], str], *, seconds: float = 10) -> str:
    """Return what `work` returned in a forked process.

    Or "signal N" where it was killed, "hang" where it took longer, "wrong ..." where an assertion
    failed, and "unexpected ..." with the end of the traceback for any other exception.
    """
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(work, writable)
    os.close(writable)
    try:
        return _wait(child, readable, seconds)
    finally:
        os.close(readable)


def _answer(work: Callable[[], str], writable: int) -> None:
    try:
        outcome = work()
    except AssertionError as error:
        outcome = f"wrong {error}"
    except BaseException:
        outcome = f"unexpected {traceback.format_exc()[-1500:]}"
    with contextlib.suppress(OSError):
        os.write(writable, outcome.encode(errors="replace")[:4096])
    os._exit(0)


def _wait(child: int, readable: int, seconds: float) -> str:
    if not select.select([readable], [], [], seconds)[0]:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "hang"
    outcome = os.read(readable, 4096).decode(errors="replace")
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return outcome
