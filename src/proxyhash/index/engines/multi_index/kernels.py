"""The compiled search of multi-index hashing: buckets by growing distance of their substring.

Once every bucket was seen that differs from the query in up to s bits of its substring, and in up
to s + 1 bits in t of the m tables, every row within m * s + m + t - 1 bits of the query was seen:
a row farther than that in all tables would differ in more bits altogether.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from proxyhash.codes.kernels import kernel, popcount
from proxyhash.index.engines.bounded_heap import entry_of, push, reach, sort_entries, sort_unordered
from proxyhash.index.engines.multi_index.tables import substring_of
from proxyhash.index.engines.scan.kernels import all_beyond

if TYPE_CHECKING:
    import numpy.typing as npt

    from proxyhash.index.engines.multi_index.tables import Tables
    from proxyhash.index.engines.scan.kernels import Entries, Integers, Mask, Order, Words

__all__ = ["GAVE_UP", "Probe", "probe_tables"]

GAVE_UP = -1

# Costs in words that a scan compares in the same time: of going to a bucket, of a row whose code
# lies in the bucket, and of one whose code must be fetched.
_BUCKET, _ROW_BESIDE, _ROW_FETCHED = 400, 8, 80
# Buckets, and rows in them, that are read one after the other without a decision in between, so
# that the memory works on several at once.
_AHEAD, _WAITING = 64, 128
# Rows of a bucket that are compared as a block, to dismiss them at once; fewer than the least are
# faster one by one.
_BLOCK_ROWS, _FEW_ROWS = 256, 16


class Probe(NamedTuple):
    """Arguments that stay the same during a search.

    Attributes:
        codes: words (n * W,).
        tables: the buckets.
        radius: no row farther than this.
        mask: bool (n,), or empty.
        order: uint64 (n,), or empty.
        bounded: whether only as many rows are wanted as a heap holds; if not, rows beyond them
            are counted and not kept.
        patience: when to give up, as a cost in words that a scan compares.
    """

    codes: Words
    tables: Tables
    radius: int
    mask: Mask
    order: Order
    bounded: bool
    patience: float


@kernel
def probe_tables(query: Words, probe: Probe, heaps: Entries, sizes: Integers) -> None:
    """Write each query's nearest rows into `heaps` (q, k), sorted, and how many into `sizes` (q,).

    The size is `GAVE_UP` where the patience was used up.
    """
    scratch = np.empty(2 * _AHEAD + 3 * _WAITING, np.int64)
    crowding = np.empty(len(probe.tables.words), np.float64)
    for place in range(query.shape[0]):
        heap = heaps[place]
        size = _probe_one(query[place], probe, heap, scratch, crowding)
        if probe.bounded and size > 0:
            sort_entries(heap, size, probe.order)
        elif 0 < size <= heap.size:
            sort_unordered(heap[:size], probe.order)
        sizes[place] = size


@kernel
def _probe_one(
    query: Words, probe: Probe, heap: Entries, scratch: Integers, crowding: npt.NDArray[np.float64]
) -> int:
    """Return how many rows were found, or `GAVE_UP`."""
    # As integers of 64 bits, not literals, for which numba would compile the callees once more.
    size: int = np.int64(0)  # type: ignore[assignment]
    distance: int = np.int64(0)  # type: ignore[assignment]
    count, left, buckets = len(crowding), probe.patience, 1.0
    length = np.int64(popcount(np.uint64(probe.tables.starts.shape[1] - 2)))
    crowding[:] = 0
    while distance <= length:
        for table in range(count):
            # A bucket of the last step held more rows than one of this step will.
            if buckets * (_BUCKET + crowding[table]) > left:
                return GAVE_UP
            before = left
            size, left = _visit(query, probe, table, distance, heap, size, scratch, left)
            if size == GAVE_UP:
                return GAVE_UP
            crowding[table] = (before - left) / buckets - _BUCKET
            seen = count * distance + table
            if _limit(probe, heap, size) <= seen:
                return size
        buckets *= (length - distance) / (distance + 1)
        distance += 1
    return size


@kernel
def _visit(
    query: Words,
    probe: Probe,
    table: int,
    distance: int,
    heap: Entries,
    size: int,
    scratch: Integers,
    left: float,
) -> tuple[int, float]:
    """Look into the buckets of one table at one distance.

    Returns:
        the new size, or `GAVE_UP`; what is left of the patience.
    """
    tables = probe.tables
    starts, beside, word = tables.starts[table], tables.beside[table], tables.words[table]
    own = substring_of(query[word], tables.shifts[table], starts.size - 1)
    after, known = (word + 1) % query.size, distance if query.size > 1 else 0
    following = query[after : after + 1]
    cost = _ROW_BESIDE if beside.size else _ROW_FETCHED * query.size
    count = np.int64(probe.codes.size // query.size)
    bounds, waiting = scratch[: 2 * _AHEAD].reshape(_AHEAD, 2), scratch[2 * _AHEAD :]
    flips = (1 << distance) - 1
    while flips < starts.size - 1:
        ahead, rows = 0, np.int64(0)
        while flips < starts.size - 1 and ahead < _AHEAD:
            # What was checked when it was loaded may have changed in the file since.
            first = min(np.int64(starts[own ^ flips]), count)
            last = max(first, min(np.int64(starts[(own ^ flips) + 1]), count))
            bounds[ahead, 0], bounds[ahead, 1] = first, last
            rows += last - first
            ahead += 1
            flips = _next_flips(flips, starts.size - 1)
        left -= ahead * _BUCKET + rows * cost
        if left < 0:
            return GAVE_UP, left
        waits = _WAITING
        while waits == _WAITING:
            limit = _limit(probe, heap, size)
            waits = _sift(beside, following, limit - known, bounds[:ahead], waiting)
            if waits == 0:
                break
            if query.size > 1 or not beside.size:
                _fetch(query, probe.codes, tables.pointers[table], waiting, waits)
            size = _judge(query, probe, table, distance, heap, size, waiting, waits)
    return size, left


@kernel
def _limit(probe: Probe, heap: Entries, size: int) -> int:
    """Return the largest distance of a row that is still wanted."""
    return reach(heap, size, probe.radius, True) if probe.bounded else probe.radius


# The two loops that take the time call nothing: the compiler counts references to the arrays that
# it hands on, and each count keeps the memory from working on several rows at once.


@kernel
def _sift(beside: Words, following: Words, limit: int, bounds: Integers, waiting: Integers) -> int:
    """Fill `waiting` with places in the buckets that may be near; return how many.

    The distances of the words beside them follow. What was looked at is cut off the bounds
    (buckets, 2).
    """
    waits = 0
    word = following[0]
    for bucket in range(bounds.shape[0]):
        first, last = bounds[bucket, 0], bounds[bucket, 1]
        while first < last:
            stop = min(first + _BLOCK_ROWS, last)
            block = beside.size and stop - first >= _FEW_ROWS
            if not (block and all_beyond(following, beside, first, stop, limit)):
                for place in range(first, stop):
                    if waits == _WAITING:
                        bounds[bucket, 0] = place
                        return waits
                    waiting[waits] = place
                    if beside.size:
                        near = np.int64(popcount(beside[place] ^ word))
                        waiting[_WAITING + waits] = near
                        waits += int(near <= limit)
                    else:
                        waits += 1
            first = stop
        bounds[bucket, 0] = last
    return waits


@kernel
def _fetch(
    query: Words, codes: Words, pointers: npt.NDArray[np.uint8], waiting: Integers, waits: int
) -> None:
    """Let the distances of the waiting places' whole codes follow them."""
    width = query.size
    size, end = pointers.size // (codes.size // width), codes.size - width
    for index in range(waits):
        start = waiting[index] * size
        row = np.int64(0)
        for byte in range(size):
            row |= np.int64(pointers[start + byte]) << (8 * byte)
        waiting[2 * _WAITING + index] = min(row * width, end)  # type: ignore[call-overload]
    for index in range(waits):
        start, near = waiting[2 * _WAITING + index], np.int64(0)
        for place in range(width):
            near += np.int64(popcount(codes[start + place] ^ query[place]))
        waiting[_WAITING + index] = near


@kernel
def _judge(
    query: Words,
    probe: Probe,
    table: int,
    distance: int,
    heap: Entries,
    size: int,
    waiting: Integers,
    waits: int,
) -> int:
    """Take those of the waiting rows that are near, allowed and new; return the new size."""
    pointers, limit = probe.tables.pointers[table], _limit(probe, heap, size)
    count = probe.codes.size // query.size
    pointer = pointers.size // count
    for index in range(waits):
        near = waiting[_WAITING + index]
        if near > limit:
            continue
        row = np.int64(0)
        for byte in range(pointer):
            row |= np.int64(pointers[waiting[index] * pointer + byte]) << (8 * byte)
        if row >= count or (probe.mask.size and not probe.mask[row]):
            continue
        if _was_seen(query, probe.codes, row, probe.tables, table, distance):
            continue
        if probe.bounded:
            size = push(heap, size, entry_of(near, row), probe.order)
            limit = _limit(probe, heap, size)
        else:
            if size < heap.size:
                heap[size] = entry_of(near, row)
            size += 1
    return size


@kernel
def _next_flips(flips: int, buckets: int) -> int:
    """Return the next larger number with as many one bits; `buckets` after 0, which has none."""
    if flips == 0:
        return buckets
    lowest = flips & -flips
    ripple = flips + lowest
    return ripple | (((flips ^ ripple) // lowest) >> 2)


@kernel
def _was_seen(
    query: Words, codes: Words, row: np.int64, tables: Tables, table: int, distance: int
) -> bool:
    """Whether a row was met before this table was looked into at this distance."""
    buckets = tables.starts.shape[1] - 1
    for other in range(len(tables.words)):
        word = tables.words[other]
        differing = substring_of(
            codes[row * query.size + word] ^ query[word], tables.shifts[other], buckets
        )
        apart = np.int64(popcount(np.uint64(differing)))
        if apart < distance or (apart == distance and other < table):
            return True
    return False
