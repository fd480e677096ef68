"""Shared parts of the numba kernels: compiling, counting bits, running on several threads.

Kernels release the interpreter lock and work on a range of queries; `run_blocks` spreads the
ranges over plain Python threads. Numba's own parallel loops are not used: their portable backend
aborts the whole process when two threads (of a server, say) enter it at once, and the OpenMP one
does so after a fork.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "as_words",
    "default_threads",
    "kernel",
    "lean_kernel",
    "limit_threads",
    "popcount",
    "prefetch",
    "run_blocks",
]

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function on its first call, without the interpreter lock, and keep it on disk.

    The machine code is stored beside the source or in the user's cache folder, so that the next
    process starts fast; where neither can be written, it is compiled in every process. The cache is
    invalidated when the function's own file changes, but not when that of a kernel it calls does:
    after editing `popcount` or `row_distances`, delete the `*.nbi` files in `__pycache__`.
    """
    return _compiled(function, counting=True)


def lean_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile as `kernel` does, without counting references to arrays.

    Counting is atomic, on one place in memory for all threads: done at every call of a small
    function it takes longer than the function itself. Its arrays must outlive the call, so its
    caller holds them; it can neither make an array nor take one from another kernel.
    """
    return _compiled(function, counting=False)


def _compiled(function: Callable[P, R], *, counting: bool) -> Callable[P, R]:
    options = {"nogil": True, "_nrt": counting}
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # "no locator available": nowhere to write the cache
        compiled = numba.njit(**options)(function)
    return compiled  # type: ignore[no-any-return]


@intrinsic  # type: ignore[untyped-decorator]
def popcount(_: Any, word: Any) -> Any:
    """Return the number of one bits of an unsigned integer, as one instruction."""

    def generate(*code: Any) -> Any:
        _, builder, _, arguments = code
        return builder.ctpop(arguments[0])

    return word(word), generate


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(_: Any, array: Any, _place: Any) -> Any:
    """Ask the processor to read a place of a flat array into its cache, without waiting for it.

    A processor does so by itself where a loop reads on and on, but less far ahead where it branches
    often.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.gep(data, [arguments[1]])
        number = ir.IntType(32)
        declared = ir.FunctionType(ir.VoidType(), [pointer.type, *[number] * 3])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], declared)
        read, keep, data_cache = number(0), number(3), number(1)
        builder.call(function, [pointer, read, keep, data_cache])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


def as_words(codes: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """Return the same bits in the widest unsigned integers that divide a row, without a copy.

    Shape (n, B) of `uint8` becomes (n, B/8) of `uint64`, or (n, B/4) of `uint32`, and so on.
    Only arrays that are not contiguous are copied.
    """
    codes = np.ascontiguousarray(codes)
    width = codes.shape[1]
    for word in (np.uint64, np.uint32, np.uint16):
        if width % np.dtype(word).itemsize == 0:
            words = codes.view(word)
            return words if words.flags.aligned else words.copy()
    return codes


def default_threads() -> int:
    """Return the number of threads that kernels use by default.

    The number that `limit_threads` set, else `NUMBA_NUM_THREADS`, else the available cores.
    """
    return _limit.get() or int(numba.config.NUMBA_NUM_THREADS)


@contextmanager
def limit_threads(count: int) -> Iterator[None]:
    """Let kernels that are called inside the block use `count` threads by default."""
    token = _limit.set(count)
    try:
        yield
    finally:
        _limit.reset(token)


_limit: ContextVar[int | None] = ContextVar("proxyhash_threads", default=None)


def run_blocks(
    work: Callable[[int, int], None], count: int, *, threads: int | None = None, block: int = 64
) -> None:
    """Call `work(start, stop)` on consecutive ranges that cover `range(count)`.

    Ranges are at most `block` long. They run on `threads` threads (default: all cores), the
    caller's own among them; the others are kept between calls, and while other calls occupy them,
    the caller does the work itself. When a range fails, or the user presses Ctrl-C, those not yet
    started are dropped.
    """
    threads = default_threads() if threads is None else threads
    block = max(1, min(block, -(-count // max(1, threads))))
    starts = iter(range(0, count, block))
    stopped = False

    def take() -> None:
        nonlocal stopped
        try:
            for start in starts:  # shared: each range goes to the thread that asks next
                if stopped:
                    return
                work(start, min(start + block, count))
        except BaseException:
            stopped = True
            raise

    helpers = min(threads, -(-count // block)) - 1
    futures = [_pool(threads - 1).submit(take) for _ in range(helpers)]
    take()
    for future in futures:
        if not future.cancel():
            future.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return a pool that is kept: starting threads takes longer than many searches."""
    return ThreadPoolExecutor(threads, thread_name_prefix="proxyhash")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of the threads
