"""Compiled loops of the scan: which codes of a block are near enough, and where they go.

Codes come as one flat array of words and are looked at in slices of it: to an index that may be
negative, or to a second dimension, the compiler adds work that keeps it from using vectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.codes.kernels import kernel, popcount, prefetch
from proxyhash.index.engines.bounded_heap import ROW_BITS, entry_of, push, reach

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy.typing as npt

    Words: TypeAlias = npt.NDArray[Any]
    Mask: TypeAlias = npt.NDArray[np.bool_]
    Order: TypeAlias = npt.NDArray[np.uint64]
    Entries: TypeAlias = npt.NDArray[np.uint64]
    Integers: TypeAlias = npt.NDArray[np.int64]

__all__ = [
    "all_beyond",
    "collect_some",
    "collect_within",
    "count_within",
    "distance_between",
    "sample_nearest",
    "scan_nearest",
]

TILE_WORDS = 2048  # what several queries read in turn: half of a first-level cache at 64 bits
BLOCK_WORDS = 256  # of a tile with near rows, what is dismissed at once
PART_WORDS = 64  # of a block with near rows, what is dismissed at once
LONE_BLOCK_WORDS = 128  # the same where it is called for ahead
AHEAD_WORDS = 1024  # how far ahead words are called for
LINE_BYTES = 64  # what a processor reads from memory at once
FAR = np.uint64(1 << 32)


@kernel
def distance_between(query: Words, codes: Words, row: int | np.int64) -> np.int64:
    """Return the distance of a query (W,) to one row of flat codes (n * W,)."""
    total = np.int64(0)
    start = row * query.size
    for place in range(query.size):
        total += np.int64(popcount(codes[start + place] ^ query[place]))
    return total


@kernel
def all_beyond(query: Words, codes: Words, first: int, last: int, limit: int) -> np.bool_:
    """Whether each of the rows from `first` to `last` is farther than `limit` from the query.

    Free of branches: the sum of a distance and 2**32 - 1 - limit has bit 32 set where the distance
    exceeds the limit, and the sums are joined by AND. Two words at a time need one instruction for
    that, which makes this half as long again as fast as comparing and counting.
    """
    block = codes[first * query.size : last * query.size]
    gap = FAR - np.uint64(limit + 1)
    every = FAR
    if query.size == 1:
        word = query[0]
        for place in range(block.size):
            every &= np.uint64(popcount(block[place] ^ word)) + gap
    elif query.size == 2:
        low, high = query[0], query[1]
        for row in range(block.size // 2):
            distance = popcount(block[2 * row] ^ low) + popcount(block[2 * row + 1] ^ high)
            every &= np.uint64(distance) + gap
    else:
        for row in range(block.size // query.size):
            code = block[row * query.size : (row + 1) * query.size]
            distance = np.uint64(0)
            for place in range(query.size):
                distance += np.uint64(popcount(code[place] ^ query[place]))
            every &= distance + gap
    return np.bool_(every != 0)


@kernel
def scan_nearest(
    query: Words,
    codes: Words,
    first: int,
    last: int,
    radii: Integers,
    mask: Mask,
    order: Order,
    heaps: Entries,
    sizes: Integers,
) -> None:
    """Gather the nearest of the rows from `first` to `last` in one heap per query.

    Queries are (q, W), codes (n * W,), heaps (q, k) with `sizes` (q,) entries in use before and
    after; mask and order are empty where there is none.
    """
    width = query.shape[1]
    tile = max(1, TILE_WORDS // width)
    step = max(1, BLOCK_WORDS // width)
    part = max(1, PART_WORDS // width)
    ordered = order.size > 0
    for start in range(first, last, tile):
        stop = min(start + tile, last)
        for place in range(query.shape[0]):
            code, heap, size = query[place], heaps[place], sizes[place]
            radius = radii[place]
            limit = reach(heap, size, radius, ordered)
            if limit < 0 or all_beyond(code, codes, start, stop, limit):
                continue
            for left in range(start, stop, step):
                right = min(left + step, stop)
                if limit < 0 or all_beyond(code, codes, left, right, limit):
                    continue
                for near in range(left, right, part):
                    end = min(near + part, right)
                    if limit < 0 or all_beyond(code, codes, near, end, limit):
                        continue
                    for row in range(near, end):
                        distance = distance_between(code, codes, row)
                        if distance <= limit and (not mask.size or mask[row]):
                            size = push(heap, size, entry_of(distance, row), order)
                            limit = reach(heap, size, radius, ordered)
            sizes[place] = size


@kernel
def sample_nearest(
    query: Words, codes: Words, every: int, radii: Integers, mask: Mask, heaps: Entries
) -> None:
    """Lower the radii to the distance of the k-th nearest row of some tiles, one in `every`.

    Queries are (q, W), radii (q,), heaps (q, k); a radius stays where the tiles hold fewer rows.
    """
    width = query.shape[1]
    tile = max(1, TILE_WORDS // width)
    count = codes.size // width
    order, sizes = np.empty(0, np.uint64), np.zeros(query.shape[0], np.int64)
    for start in range(0, count, tile * every):
        stop = min(start + tile, count)
        scan_nearest(query, codes, start, stop, radii, mask, order, heaps, sizes)
    for place in range(query.shape[0]):
        if sizes[place] == heaps.shape[1]:
            radii[place] = min(radii[place], np.int64(heaps[place, 0] >> ROW_BITS))


@kernel
def _call_for(codes: Words, first: int, last: int, end: int) -> None:
    """Have words read that follow those from `first` to `last` by `AHEAD_WORDS`, before `end`."""
    stop = min(last + AHEAD_WORDS, end)
    for place in range(first + AHEAD_WORDS, stop, LINE_BYTES // codes.itemsize):
        prefetch(codes, place)


@kernel
def _collect_block(
    query: Words, codes: Words, first: int, last: int, limit: int, mask: Mask, found: Entries
) -> int:
    """Write the rows from `first` to `last` within the limit as far as there is room.

    Returns:
        how many there are.
    """
    size, room = 0, found.size
    if query.size == 1:
        word, bound, block = query[0], np.uint64(limit), codes[first:last]
        for place in range(block.size):
            far = np.uint64(popcount(block[place] ^ word))
            if far <= bound and (not mask.size or mask[first + place]):
                if size < room:
                    found[size] = entry_of(np.int64(far), first + place)
                size += 1
        return size
    part = max(1, PART_WORDS // query.size)
    for near in range(first, last, part):
        end = min(near + part, last)
        if all_beyond(query, codes, near, end, limit):
            continue
        for row in range(near, end):
            distance = distance_between(query, codes, row)
            if distance <= limit and (not mask.size or mask[row]):
                if size < room:
                    found[size] = entry_of(distance, row)
                size += 1
    return size


@kernel
def collect_some(
    query: Words,
    codes: Words,
    first: int,
    last: int,
    radii: Integers,
    mask: Mask,
    entries: Entries,
    sizes: Integers,
) -> None:
    """Write the rows within each query's radius, in any order, as far as there is room.

    Entries are (q, room), and `sizes` (q,) says how many of them there are: more than the room
    where it was not enough. Most tiles hold a near row, so that they are not dismissed as a whole.
    Without calling for words ahead, a single query would wait for memory at each near row.
    """
    width, alone = query.shape[1], query.shape[0] == 1
    tile = max(1, TILE_WORDS // width)
    step = max(1, (LONE_BLOCK_WORDS if alone else BLOCK_WORDS) // width)
    room = entries.shape[1]
    sizes[:] = 0
    for start in range(first, last, tile):
        stop = min(start + tile, last)
        for place in range(query.shape[0]):
            code, found, size, limit = query[place], entries[place], sizes[place], radii[place]
            for left in range(start, stop, step):
                right = min(left + step, stop)
                if alone:
                    _call_for(codes, left * width, right * width, last * width)
                if size <= room and not all_beyond(code, codes, left, right, limit):
                    size += _collect_block(code, codes, left, right, limit, mask, found[size:])
            sizes[place] = size


@kernel
def _count_block(query: Words, block: Words, mask: Mask, limit: int) -> int:
    total: Any = 0
    if query.size == 1 and not mask.size:
        word, bound = query[0], np.uint64(limit)
        for place in range(block.size):
            total += np.uint64(popcount(block[place] ^ word)) <= bound
    else:
        for row in range(block.size // query.size):
            if not mask.size or mask[row]:
                total += distance_between(query, block, row) <= limit
    return int(total)


@kernel
def count_within(
    query: Words, codes: Words, first: int, last: int, radii: Integers, mask: Mask, counts: Integers
) -> None:
    """Write how many of the rows from `first` to `last` lie within each query's radius."""
    width = query.shape[1]
    tile = max(1, TILE_WORDS // width)
    counts[:] = 0
    for start in range(first, last, tile):
        stop = min(start + tile, last)
        block, allowed = codes[start * width : stop * width], mask[start:stop]
        for place in range(query.shape[0]):
            counts[place] += _count_block(query[place], block, allowed, radii[place])


@kernel
def collect_within(
    query: Words,
    codes: Words,
    first: int,
    last: int,
    radii: Integers,
    mask: Mask,
    entries: Entries,
    places: Integers,
) -> None:
    """Write the rows within each query's radius from `places[i]` of the entries on."""
    width = query.shape[1]
    tile = max(1, TILE_WORDS // width)
    step = max(1, BLOCK_WORDS // width)
    for start in range(first, last, tile):
        stop = min(start + tile, last)
        for place in range(query.shape[0]):
            code, limit, free = query[place], radii[place], places[place]
            for left in range(start, stop, step):
                right = min(left + step, stop)
                if all_beyond(code, codes, left, right, limit):
                    continue
                for row in range(left, right):
                    distance = distance_between(code, codes, row)
                    if distance <= limit and (not mask.size or mask[row]):
                        entries[free] = entry_of(distance, row)
                        free += 1
            places[place] = free
