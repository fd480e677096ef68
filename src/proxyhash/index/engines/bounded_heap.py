"""The nearest rows seen so far: a heap of at most k entries with the last of them on top.

An entry is one `uint64`: the distance in the high 16 bits, the row in the low 48. Entries come
before one another by (distance, order of the row); without an order the row decides, which is the
order of the entries as numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from proxyhash.codes.kernels import kernel, prefetch
from proxyhash.index.engines.base import Matches

if TYPE_CHECKING:
    from typing import TypeAlias

    Entries: TypeAlias = npt.NDArray[np.uint64]
    Order: TypeAlias = npt.NDArray[np.uint64]

__all__ = [
    "as_matches",
    "entry_of",
    "heaps_as_matches",
    "merge_heaps",
    "nearest_entries",
    "push",
    "reach",
    "sort_entries",
    "sort_queries",
    "sort_unordered",
]

ROW_BITS = np.uint64(48)
ROW_MASK = np.uint64(2**48 - 1)


@kernel
def entry_of(distance: int | np.int64, row: int | np.int64) -> np.uint64:
    """Return the entry of a row at a distance."""
    return (np.uint64(distance) << ROW_BITS) | np.uint64(row)


@kernel
def comes_after(first: np.uint64, second: np.uint64, order: Order) -> np.bool_:
    """Whether `first` comes after `second` by (distance, order)."""
    if order.size and (first >> ROW_BITS) == (second >> ROW_BITS):
        first_rank = order[np.int64(first & ROW_MASK)]
        return np.bool_(first_rank > order[np.int64(second & ROW_MASK)])
    return np.bool_(first > second)


@kernel
def _sift_down(heap: Entries, size: int, order: Order) -> None:
    entry, place = heap[0], 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and comes_after(heap[child + 1], heap[child], order):
            child += 1
        if not comes_after(heap[child], entry, order):
            break
        heap[place] = heap[child]
        place = child
    heap[place] = entry


@kernel
def push(heap: Entries, size: int, entry: np.uint64, order: Order) -> int:
    """Put an entry into a heap of `size` entries, in the place of the last when it is full.

    Returns:
        the new size.
    """
    if size == heap.size:
        if size and comes_after(heap[0], entry, order):
            heap[0] = entry
            _sift_down(heap, size, order)
        return size
    place = size
    while place:
        parent = (place - 1) // 2
        if not comes_after(entry, heap[parent], order):
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = entry
    return size + 1


@kernel
def reach(heap: Entries, size: int, radius: int, ties: bool) -> int:
    """Return the largest distance at which a row can still get into the heap.

    Without `ties`, a row at the distance of the heap's last one comes after it.
    """
    if size < heap.size:
        return radius
    farthest = np.int64(heap[0] >> ROW_BITS) - np.int64(not ties)
    return radius if radius < farthest else int(farthest)


@kernel
def sort_entries(heap: Entries, size: int, order: Order) -> None:
    """Turn a heap of `size` entries into a list in ascending order."""
    for end in range(size - 1, 0, -1):
        last = heap[0]
        heap[0] = heap[end]
        _sift_down(heap, end, order)
        heap[end] = last


@kernel
def merge_heaps(heaps: Entries, sizes: npt.NDArray[np.int64], order: Order) -> None:
    """Gather the heaps (parts, q, k) of each query in the first of them, and sort it."""
    for query in range(heaps.shape[1]):
        size = sizes[0, query]
        for part in range(1, heaps.shape[0]):
            for place in range(sizes[part, query]):
                size = push(heaps[0, query], size, heaps[part, query, place], order)
        sizes[0, query] = size
        sort_entries(heaps[0, query], size, order)


@kernel
def sort_unordered(entries: Entries, order: Order) -> None:
    """Sort entries that lie in any order."""
    size = 0
    for place in range(entries.size):
        size = push(entries, size, entries[place], order)
    sort_entries(entries, size, order)


@kernel
def sort_queries(entries: Entries, offsets: npt.NDArray[np.int64], order: Order) -> None:
    """Sort the entries of each query, which lie from one offset to the next in any order."""
    for query in range(offsets.size - 1):
        sort_unordered(entries[offsets[query] : offsets[query + 1]], order)


def nearest_entries(entries: Entries, order: Order, k: int) -> Entries:
    """Return the first k of entries (m,) that lie in any order, m at least k, ascending."""
    return _first_by_order(entries, order, k) if order.size else np.sort(entries)[:k]


@kernel
def _first_by_order(entries: Entries, order: Order, k: int) -> Entries:
    """Return the first k of entries (m,), with the order of no more rows read than it takes."""
    farthest = np.int64(0)
    for entry in entries:
        farthest = max(farthest, np.int64(entry >> ROW_BITS))
    starts = np.zeros(farthest + 2, np.int64)  # where the entries of a distance begin
    for entry in entries:
        starts[np.int64(entry >> ROW_BITS) + 1] += 1
    reached = 0  # the number of distances that hold the first k
    while starts[reached] < k:
        reached += 1
        starts[reached] += starts[reached - 1]
    near, size = np.empty(starts[reached], np.uint64), 0
    for entry in entries:
        if np.int64(entry >> ROW_BITS) < reached:
            near[size] = entry
            size += 1
            prefetch(order, np.int64(entry & ROW_MASK))
    ranks = np.empty(size, np.uint64)
    for place in range(size):
        ranks[place] = order[np.int64(near[place] & ROW_MASK)]
    first = np.empty(k, np.uint64)
    for place in np.argsort(ranks):
        distance = np.int64(near[place] >> ROW_BITS)
        if starts[distance] < k:
            first[starts[distance]] = near[place]
        starts[distance] += 1
    return first


def as_matches(entries: Entries, sizes: npt.NDArray[np.int64]) -> Matches:
    """Return sorted entries (m,), `sizes` (q,) of them each query's, as `Matches`."""
    return Matches(
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        rows=(entries & ROW_MASK).astype(np.int64),
        distances=(entries >> ROW_BITS).astype(np.uint16),
    )


def heaps_as_matches(heaps: Entries, sizes: npt.NDArray[np.int64]) -> Matches:
    """Return sorted heaps (q, k), `sizes` (q,) entries of each in use, as `Matches`."""
    if (sizes == heaps.shape[1]).all():
        return as_matches(heaps.reshape(-1), sizes)
    return as_matches(heaps[np.arange(heaps.shape[1]) < sizes[:, None]], sizes)
