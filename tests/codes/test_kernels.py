"""What kernels share: words, blocks of work, and compiling where no cache can be written."""

from __future__ import annotations

import time

import numpy as np
import pytest

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


def test_kernels_compile_where_no_cache_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    njit = kernels.numba.njit
    njit(lambda: 0)()  # the first compilation imports modules that call njit themselves

    def without_cache(*, nogil: bool, cache: bool = False):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(nogil=nogil)

    monkeypatch.setattr(kernels.numba, "njit", without_cache)

    def one_bits(word: int) -> int:
        return kernels.popcount(word)

    assert kernels.kernel(one_bits)(np.uint64(0b1011)) == 3
