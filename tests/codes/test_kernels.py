"""What kernels share: words, blocks of work, and compiling where no cache can be written."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from functools import partial

import numpy as np
import pytest
from numba.core.errors import NumbaError

from proxyhash.codes import kernels


@pytest.mark.parametrize(
    ("width", "dtype"),
    [(1, "u1"), (2, "u2"), (3, "u1"), (4, "u4"), (6, "u2"), (8, "u8"), (24, "u8")],
)
def test_words_share_the_memory_of_the_codes(width: int, dtype: str) -> None:
    codes = np.zeros((3, width), np.uint8)
    words = kernels.as_words(codes)
    assert words.dtype == np.dtype(dtype)
    assert words.shape == (3, width // words.itemsize)
    assert np.shares_memory(words, codes)
    assert kernels.as_words(codes[:0]).shape == (0, width // words.itemsize)


@pytest.mark.parametrize("threads", [None, 1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 7, 64, 200])
def test_blocks_cover_every_row_once(count: int, threads: int | None) -> None:
    seen = np.zeros(count, int)

    def work(start: int, stop: int) -> None:
        assert 0 < stop - start <= 10
        seen[start:stop] += 1

    kernels.run_blocks(work, count, threads=threads, block=10)
    assert (seen == 1).all()


def test_threads_can_be_limited_for_a_while() -> None:
    before = kernels.default_threads()
    assert before >= 1
    with kernels.limit_threads(7):
        assert kernels.default_threads() == 7
        with kernels.limit_threads(1):
            assert kernels.default_threads() == 1
        assert kernels.default_threads() == 7
    assert kernels.default_threads() == before


def test_an_error_in_a_thread_reaches_the_caller() -> None:
    def work(start: int, stop: int) -> None:
        raise ZeroDivisionError(f"{start}")

    with pytest.raises(ZeroDivisionError):
        kernels.run_blocks(work, 100, threads=2, block=10)


def test_what_has_not_begun_is_dropped_after_an_error() -> None:
    begun = []

    def work(start: int, stop: int) -> None:
        begun.append(start)
        time.sleep(0.01)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        kernels.run_blocks(work, 1000, threads=2, block=1)
    assert len(begun) < 100


def test_callers_may_come_at_once_and_from_within_a_block() -> None:
    seen = np.zeros((8, 50, 20), int)

    def count(counts: np.ndarray, start: int, stop: int) -> None:
        counts[start:stop] += 1

    def outer(caller: int) -> None:
        def middle(start: int, stop: int) -> None:
            for place in range(start, stop):
                kernels.run_blocks(partial(count, seen[caller, place]), 20, threads=2, block=3)

        kernels.run_blocks(middle, 50, threads=3, block=4)

    callers = [threading.Thread(target=outer, args=(caller,)) for caller in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(20)
    assert (seen == 1).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    script = """
import os, sys
from proxyhash.codes import kernels
seen = []
work = lambda start, stop: seen.extend(range(start, stop))
kernels.run_blocks(work, 100, threads=2, block=10)
child = os.fork()
if not child:
    kernels.run_blocks(work, 100, threads=2, block=10)
    os._exit(len(seen))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "200\n"


def test_kernels_compile_where_no_cache_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    njit = kernels.numba.njit
    njit(lambda: 0)()  # the first compilation imports modules that call njit themselves

    def without_cache(*, cache: bool = False, **options: bool):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        assert options["nogil"]
        return njit(**options)

    monkeypatch.setattr(kernels.numba, "njit", without_cache)

    def one_bits(word: int) -> int:
        return kernels.popcount(word)

    assert kernels.kernel(one_bits)(np.uint64(0b1011)) == 3
    assert kernels.lean_kernel(one_bits)(np.uint64(0b1011)) == 3


@kernels.lean_kernel
def _last_of_row(table, row: int):
    part = table[row]
    return part[part.size - 1]


@kernels.kernel
def _lean_within(count: int):
    total = 0
    for row in range(count):
        total += _last_of_row(np.full((count, 3), row), row)
    return total


def test_a_lean_kernel_takes_arrays_whose_caller_keeps_them() -> None:
    table = np.arange(6).reshape(2, 3)
    before = sys.getrefcount(table)
    assert [_last_of_row(table, 0), _last_of_row(table, 1)] == [2, 5]
    assert sys.getrefcount(table) == before
    assert _lean_within(100) == 4950


def test_a_lean_kernel_cannot_make_an_array() -> None:
    @kernels.lean_kernel
    def makes_one(size: int):
        return np.zeros(size)

    with pytest.raises(NumbaError, match=r"Only accept returning of array passed|NRT required"):
        makes_one(3)
