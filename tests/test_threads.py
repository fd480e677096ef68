"""Threads that map a function: order, errors, how much is taken ahead, and interrupts."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from proxyhash.threads import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_results_come_in_the_order_of_the_inputs() -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.02 / (1 + number))
        return number * number

    with map_in_threads(slow_at_first, range(50), 4) as results:
        assert list(results) == [number * number for number in range(50)]


def test_an_error_is_raised_in_place_of_its_result_and_ends_the_work() -> None:
    called = []

    def fail_at_three(number: int) -> int:
        called.append(number)
        if number == 3:
            raise ValueError("three")
        return number

    with map_in_threads(fail_at_three, range(10**9), 2, ahead=4) as results:
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="three"):
            next(results)
    assert max(called) < 3 + 2 * 4 + 1


def test_inputs_are_taken_as_they_are_needed() -> None:
    taken = []

    def inputs() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with map_in_threads(str, inputs(), 2, ahead=3) as results:
        assert next(results) == "0"
        assert len(taken) == 6


def test_calls_that_run_are_waited_for_at_the_end_of_the_block() -> None:
    running = set()

    def run(number: int) -> None:
        running.add(number)
        time.sleep(0.05)
        running.discard(number)

    with map_in_threads(run, range(100), 3) as results:
        next(results)
    assert not running


# In a process of its own: an interrupt that comes outside of the block would end pytest.
INTERRUPTED = """
import _thread, random, signal, time
from proxyhash.threads import map_in_threads

def interrupt(number, frame):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
draw = random.Random(0)
threads = _thread._count()
for _ in range(250):
    try:
        signal.setitimer(signal.ITIMER_REAL, draw.uniform(1e-5, 4e-3))
        with map_in_threads(hash, range(10**9), 2) as results:
            for _ in results:
                pass
    except KeyboardInterrupt:
        pass
while _thread._count() > threads:
    time.sleep(0.01)
print("every one was an interrupt")
"""


def test_interrupts_at_any_moment_are_interrupts_and_end_every_thread() -> None:
    # concurrent.futures fails here: RuntimeError, or it never ends.
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout == "every one was an interrupt\n", done.stderr
    assert not done.stderr
