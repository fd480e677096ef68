"""Encoding batch by batch on every core: one whole batch per thread, from file to feature.

A thread reads, decodes and resizes the images of its batch and then runs the model on them with
one torch thread of its own. Decoding, resizing and torch's kernels release the interpreter lock,
so the threads keep all cores busy without a hand-over between decoders and model, and without the
barriers inside a model that is split over cores, at which one late core makes all others wait.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

__all__ = ["encode_batches", "keep_freed_memory", "use_one_torch_thread", "worker_threads"]

Row = TypeVar("Row")

_AHEAD = 2  # batches handed out per thread: enough to never idle, few enough to stop soon

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_... of glibc's malloc.h
_KEPT = 128 << 20
_LARGE = 32 << 20


def encode_batches(
    encode: Callable[[NDArray[np.int64]], Iterable[Row]],
    positions: NDArray[np.int64],
    *,
    batch_size: int,
) -> Iterator[tuple[int, Row]]:
    """Yield (position, row) for every position, in the order given.

    `encode` gets the positions of one batch and returns a row for each; it runs in several threads
    at once. Batches are of equal size, give or take one, at most `batch_size`, and at least one per
    thread. Peak memory is what `encode` needs for two batches per thread.

    When `encode` raises, the error comes out here after the rows of the batches before it.
    """
    if len(positions) == 0:
        return
    keep_freed_memory()
    threads = min(worker_threads(), len(positions))
    batches = np.array_split(positions, max(-(-len(positions) // batch_size), threads))
    if len(batches) == 1 or threads == 1:  # sooner done than handed to another thread
        for batch in batches:
            with _torch_threads_kept():
                use_one_torch_thread()
                done = list(encode(batch))
            yield from zip(batch.tolist(), done, strict=True)
        return
    with (
        _torch_threads_kept(),
        ThreadPoolExecutor(threads, initializer=use_one_torch_thread) as pool,
    ):
        running: deque[tuple[NDArray[np.int64], Future[Iterable[Row]]]] = deque()
        try:
            waiting = iter(batches)
            for batch in waiting:
                running.append((batch, pool.submit(encode, batch)))
                if len(running) == _AHEAD * threads:
                    break
            while running:
                batch, future = running.popleft()
                rows = future.result()
                following = next(waiting, None)
                if following is not None:
                    running.append((following, pool.submit(encode, following)))
                yield from zip(batch.tolist(), rows, strict=True)
        finally:  # an error, Ctrl-C or a caller that had enough: start nothing more
            pool.shutdown(wait=True, cancel_futures=True)


def worker_threads() -> int:
    """Return how many threads encode: torch's own number, or the cores of this process."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_one_torch_thread() -> None:
    """Tell torch, where it is loaded, that this thread is one of several that use it."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.get_num_threads()  # a thread's first look takes whatever another thread set last
        torch.set_num_threads(1)


@contextmanager
def _torch_threads_kept() -> Iterator[None]:
    """Let torch have as many threads for the caller after the block as before."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def keep_freed_memory() -> None:
    """Let the C library keep up to 128 MiB that are free; once in a process, and on glibc alone.

    What lies between the layers of a network is some ten megabytes, freed after each layer. By
    default glibc gives such memory back to the system and asks for it again, page by page: with
    MobileNetV2 a quarter of the processor time. Blocks of more than 32 MiB still go back at once.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    with suppress(OSError, AttributeError):  # then memory comes and goes as before
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)
        libc.mallopt(_MMAP_THRESHOLD, _LARGE)
