"""Encode batch by batch on every core: each thread takes a whole batch from file to features.

A thread reads, decodes and resizes the images of its batch and then runs the model on them with
one torch thread of its own. Decoding, resizing and torch's kernels release the interpreter lock,
so the threads keep all cores busy without a queue between decoders and model, and without the
barriers inside a model that is split over cores, where one late core makes all others wait.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from proxyhash.threads import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

__all__ = ["encode_batches", "keep_freed_memory", "use_one_torch_thread", "worker_threads"]

Row = TypeVar("Row")

_AHEAD = 2  # batches in flight per thread: enough to stay busy, few enough to stop soon

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_... of glibc's malloc.h
_KEPT = 128 << 20
_LARGE = 32 << 20


def encode_batches(
    encode: Callable[[NDArray[np.int64]], Iterable[Row]],
    positions: NDArray[np.int64],
    *,
    batch_size: int,
    steady: bool = False,
) -> Iterator[tuple[int, Row]]:
    """Yield (position, row) for every position, in the order given.

    `encode` gets the positions of one batch and returns a row for each; it runs in several threads
    at once. Batches have equal size, give or take one, at most `batch_size`, and there is at least
    one per thread, unless they are `steady`: then they do not depend on the threads. Peak memory is
    what `encode` needs for two batches per thread.

    When `encode` raises, the error is raised here after the rows of the earlier batches.
    """
    if len(positions) == 0:
        return
    keep_freed_memory()
    threads = min(worker_threads(), len(positions))
    fewest = 1 if steady else threads
    batches = np.array_split(positions, max(-(-len(positions) // batch_size), fewest))
    if len(batches) == 1 or threads == 1:  # faster than using another thread
        for batch in batches:
            with _torch_threads_kept():
                use_one_torch_thread()
                done = list(encode(batch))
            yield from zip(batch.tolist(), done, strict=True)
        return

    def encode_alone(batch: NDArray[np.int64]) -> Iterable[Row]:
        use_one_torch_thread()
        return encode(batch)

    with (
        _torch_threads_kept(),
        map_in_threads(encode_alone, batches, threads, ahead=_AHEAD) as results,
    ):
        for batch, rows in zip(batches, results, strict=True):
            yield from zip(batch.tolist(), rows, strict=True)


def worker_threads() -> int:
    """Return the number of encoding threads: torch's own, or the cores of this process."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_one_torch_thread() -> None:
    """Limit torch, if it is loaded, to one thread for calls from this thread."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.get_num_threads()  # a thread's first call takes over what another one set
        torch.set_num_threads(1)


@contextmanager
def _torch_threads_kept() -> Iterator[None]:
    """Restore the caller's number of torch threads after the block."""
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
    """Let the C library keep up to 128 MiB of freed memory; once per process, only with glibc.

    Activations between the layers of a network take some ten megabytes, freed after each layer. By
    default glibc returns such memory to the system and requests it again page by page, which costs
    a quarter of the processor time of MobileNetV2. Blocks above 32 MiB are still returned at once.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    with suppress(OSError, AttributeError):  # then glibc's defaults stay
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)
        libc.mallopt(_MMAP_THRESHOLD, _LARGE)
