"""One thread for small sums: quicker than sharing them out, and always rounded the same way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

__all__ = ["one_thread"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and numpy's BLAS use one thread inside the block (or decorated function).

    On a busy machine a small matrix product shared out over threads waits for the slowest, which
    made codebooks ten times slower.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(threads)
