"""The kernel of the clustered engine's search.

A code x in the list of center c is at least |d(q, c) - d(c, x)| from the query q (the triangle
inequality, both ways round). Lists hold their codes by growing d(c, x), so that the codes which may
be within some limit of q are one run of each list, whose ends the list's table tells.

Each query first visits the nearest lists, which sets a limit. Where codes are too many for the
cache, what is left is done list by list: a list is read from memory once for all queries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from proxyhash.codes.kernels import kernel, popcount
from proxyhash.index.engines.clustered.candidates import (
    HELD,
    INSIDE,
    LAST,
    LIMIT,
    NONE,
    STATES,
    WORK,
    bare,
    keep,
    settle,
)

if TYPE_CHECKING:
    from proxyhash.index.engines.clustered.candidates import Integer
    from proxyhash.index.engines.clustered.centers import Words

__all__ = ["ROOM", "search_lists"]

STRIDE = 256
"""Codes compared before the nearest of them is looked at; the limit is renewed as often."""

LOOK = 32
"""Lists whose bounds are looked at together."""

NEAREST = 8
"""Lists that a query visits before the others are done list by list."""

FEW = 48
"""As many lists are sorted by insertion."""

ROOM = 256
"""Candidates kept beyond 2k before the ties at the limit are put in order."""


@kernel
def search_lists(
    queries: Words,
    centers: Words,
    spans: npt.NDArray[np.uint16],
    table: npt.NDArray[np.uint32],
    words: Words,
    starts: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.uint32],
    order: npt.NDArray[np.uint64],
    mask: npt.NDArray[np.bool_],
    k: int,
    radius: int,
    room: int,
    together: bool,
    counts: npt.NDArray[np.int64],
    compared: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16]]:
    """Return the rows and distances found, query after query, each by (distance, order).

    Args:
        queries: (q, W).
        centers: (C, W).
        spans: (2, C), the least and the greatest distance of a list's codes from its center.
        table: (C, K + 2); `table[c, x]` is the first code of list c that is at least x from it,
            and `table[c, K + 1]` the end of the list.
        words: (D, W), the codes, list after list.
        starts: (D + 1,), where the rows of each code start; empty where each has one.
        rows: (n,), rows of one code by their order.
        order: (n,) by row, or empty: the row itself.
        mask: (n,) by row, or empty: all are allowed.
        k: at most this many rows a query; 0 for all within the radius.
        radius: no row farther than this.
        room: for candidates of each query, more than 2k. One that has more of them, which happens
            without k alone, gets no answer but a count that is greater than the room.
        together: go through the lists after the nearest ones list by list, not query by query:
            better where the codes are larger than the cache.
        counts: (q,), how many rows each query found, written here.
        compared: (q,), how many codes and centers each was compared with, written here.
    """
    size, lists = queries.shape[0], centers.shape[0]
    near, bounds = np.empty((size, lists), np.uint16), np.empty((size, lists), np.uint16)
    visits = np.empty((2, size * lists if together else 0), np.uint32)
    todo = np.empty((2, lists), np.uint32)
    places, scratch = np.empty(table.shape[1], np.int64), np.empty(STRIDE, np.uint16)
    far, who = np.empty((size, room), np.uint16), np.empty((size, room), np.int64)
    tally, state = np.empty((size, table.shape[1]), np.int64), np.empty((size, STATES), np.int64)
    _search(
        queries, centers, spans, table, words, starts, rows, order, mask, k, radius, near, bounds,
        visits, todo, places, scratch, far, who, tally, state,
    )  # fmt: skip
    total = 0
    for index in range(size):
        counts[index] = state[index, HELD]
        compared[index] = state[index, WORK]
        total += min(counts[index], room)
    all_far, all_rows = np.empty(total, np.uint16), np.empty(total, np.int64)
    total = 0
    for index in range(size):
        found = min(counts[index], room)
        all_far[total : total + found] = far[index, :found]
        all_rows[total : total + found] = who[index, :found]
        total += found
    return all_rows, all_far


@kernel
def _search(
    queries: Words,
    centers: Words,
    spans: npt.NDArray[np.uint16],
    table: npt.NDArray[np.uint32],
    words: Words,
    starts: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.uint32],
    order: npt.NDArray[np.uint64],
    mask: npt.NDArray[np.bool_],
    k: int,
    radius: int,
    near: npt.NDArray[np.uint16],
    bounds: npt.NDArray[np.uint16],
    visits: npt.NDArray[np.uint32],
    todo: npt.NDArray[np.uint32],
    places: npt.NDArray[np.int64],
    scratch: npt.NDArray[np.uint16],
    far: npt.NDArray[np.uint16],
    who: npt.NDArray[np.int64],
    tally: npt.NDArray[np.int64],
    state: npt.NDArray[np.int64],
) -> None:
    """Leave each query's answers in `far` and `who`; more are HELD than fit if there is no room."""
    # The caller's references keep all of them alive.
    queries, centers, spans, table = bare(queries), bare(centers), bare(spans), bare(table)
    words, starts, rows, order = bare(words), bare(starts), bare(rows), bare(order)
    mask, near, bounds, visits = bare(mask), bare(near), bare(bounds), bare(visits)
    todo, places, scratch = bare(todo), bare(places), bare(scratch)
    far, who, tally, state = bare(far), bare(who), bare(tally), bare(state)
    lists = centers.shape[0]
    waiting = 0
    for index in range(queries.shape[0]):
        tally[index] = 0
        state[index, HELD] = state[index, INSIDE] = 0
        state[index, LIMIT] = radius
        state[index, LAST] = NONE
        state[index, WORK] = lists
        first = _nearest_list(queries, index, centers, spans, near[index], bounds[index])
        todo[0] = index
        todo[1, 0] = first
        count = 1
        for others in (False, True):
            if others:  # the first list has set a limit to which of them are worth a visit
                count = _worth_a_visit(
                    near[index], bounds[index], state[index, LIMIT], first, places, todo[1]
                )
            now = count
            if visits.shape[1] and k and state[index, INSIDE] >= k:
                now = min(count, NEAREST)
            _visit(
                queries, todo, now, near, bounds, table, words, starts, rows, order, mask, k,
                scratch, far, who, tally, places, state,
            )  # fmt: skip
        for turn in range(now, count):
            if bounds[index, todo[1, turn]] <= state[index, LIMIT]:
                visits[0, waiting], visits[1, waiting] = index, todo[1, turn]
                waiting += 1
    if waiting:
        by_list = _by_list(visits, waiting, lists)
        _visit(
            queries, by_list, waiting, near, bounds, table, words, starts, rows, order, mask, k,
            scratch, far, who, tally, places, state,
        )  # fmt: skip
    for index in range(queries.shape[0]):
        if state[index, HELD] <= far.shape[1]:
            settle(far[index], who[index], order, k, tally[index], places, state[index])


@kernel
def _by_list(visits: npt.NDArray[np.uint32], count: int, lists: int) -> npt.NDArray[np.uint32]:
    """Return the first `count` pairs of query and list, (2, v), by the list."""
    places = np.zeros(lists + 1, np.int64)
    for turn in range(count):
        places[visits[1, turn] + 1] += 1
    for place in range(lists):
        places[place + 1] += places[place]
    result = np.empty((2, count), np.uint32)
    for turn in range(count):
        place = places[visits[1, turn]]
        result[0, place], result[1, place] = visits[0, turn], visits[1, turn]
        places[visits[1, turn]] = place + 1
    return result


@kernel
def _visit(
    queries: Words,
    visits: npt.NDArray[np.uint32],
    count: int,
    near: npt.NDArray[np.uint16],
    bounds: npt.NDArray[np.uint16],
    table: npt.NDArray[np.uint32],
    words: Words,
    starts: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.uint32],
    order: npt.NDArray[np.uint64],
    mask: npt.NDArray[np.bool_],
    k: int,
    scratch: npt.NDArray[np.uint16],
    far: npt.NDArray[np.uint16],
    who: npt.NDArray[np.int64],
    tally: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    state: npt.NDArray[np.int64],
) -> None:
    """Let queries visit lists: keep those of their codes that are within the limit.

    `visits` holds `count` pairs of a query and a list, (2, v).
    """
    bits = table.shape[1] - 2
    for turn in range(count):
        index, current = np.int64(visits[0, turn]), np.int64(visits[1, turn])
        limit = state[index, LIMIT]
        if bounds[index, current] > limit or state[index, HELD] > far.shape[1]:
            continue
        home = np.int64(near[index, current])
        at = np.int64(0)
        while True:
            # A smaller limit leaves a shorter run of the list.
            at = max(at, np.int64(table[current, max(home - limit, 0)]))
            size = np.int64(table[current, min(home + limit, bits) + 1]) - at
            if size <= 0 or state[index, HELD] > far.shape[1]:
                break
            size = min(size, np.int64(STRIDE))
            least = _compare(queries, index, words, at, size, scratch)
            state[index, WORK] += size
            if least <= limit:
                for lane in range(size):
                    distance = np.int64(scratch[lane])
                    if distance <= limit:
                        keep(
                            at + lane, distance, starts, rows, order, mask, k, far[index],
                            who[index], tally[index], places, state[index],
                        )  # fmt: skip
                        limit = state[index, LIMIT]
                        if state[index, HELD] > far.shape[1]:
                            break
            at += size


@kernel
def _nearest_list(
    queries: Words,
    index: int,
    centers: Words,
    spans: npt.NDArray[np.uint16],
    near: npt.NDArray[np.uint16],
    bounds: npt.NDArray[np.uint16],
) -> Integer:
    """Fill in each center's distance and the least one of its codes; return the nearest center."""
    _compare(queries, index, centers, 0, near.size, near)
    best = np.int64(0x7FFFFFFFFFFFFFFF)
    for place in range(near.size):
        distance = np.int32(near[place])
        outside = distance - np.int32(spans[1, place])
        inside = np.int32(spans[0, place]) - distance
        bounds[place] = np.uint16(max(outside, inside, np.int32(0)))
    for place in range(near.size):
        best = min(best, (np.int64(near[place]) << 32) | place)
    return best & 0xFFFFFFFF


@kernel
def _compare(
    queries: Words,
    index: Integer,
    words: Words,
    start: Integer,
    size: Integer,
    result: npt.NDArray[np.uint16],
) -> Integer:
    """Write the distances of `size` codes from row `start` on; return the least of them."""
    # Unsigned indices cannot count from the end, so that these loops can be vectorized. (A slice
    # would do as well, but it counts a reference, which threads would fight over.)
    width = words.shape[1]
    base = np.uint64(start)
    least = np.uint64(0xFFFF)
    if width == 1:
        word = queries[index, 0]
        for lane in range(np.uint64(size)):
            distance = popcount(words[base + lane, 0] ^ word)
            result[lane] = np.uint16(distance)
            least = min(least, distance)
    elif width == 2:
        low, high = queries[index, 0], queries[index, 1]
        for lane in range(np.uint64(size)):
            distance = popcount(words[base + lane, 0] ^ low)
            distance += popcount(words[base + lane, 1] ^ high)
            result[lane] = np.uint16(distance)
            least = min(least, distance)
    else:
        for lane in range(np.uint64(size)):
            distance = np.uint64(0)
            for place in range(width):
                distance += popcount(words[base + lane, place] ^ queries[index, place])
            result[lane] = np.uint16(distance)
            least = min(least, distance)
    return np.int64(least)


@kernel
def _worth_a_visit(
    near: npt.NDArray[np.uint16],
    bounds: npt.NDArray[np.uint16],
    limit: Integer,
    visited: Integer,
    places: npt.NDArray[np.int64],
    todo: npt.NDArray[np.uint32],
) -> int:
    """Write the lists whose bound is within the limit, the nearest first; return how many."""
    count = 0
    for start in range(0, bounds.size, LOOK):
        base, least = np.uint64(start), np.uint16(0xFFFF)
        size = min(LOOK, bounds.size - start)
        for lane in range(np.uint64(size)):
            least = min(least, bounds[base + lane])
        if least <= limit:
            for place in range(start, start + size):
                if bounds[place] <= limit and place != visited:
                    todo[count] = place
                    count += 1
    if count <= FEW:
        for place in range(1, count):
            moved, hole = todo[place], place
            while hole > 0 and near[todo[hole - 1]] > near[moved]:
                todo[hole] = todo[hole - 1]
                hole -= 1
            todo[hole] = moved
        return count
    places[:] = 0
    for place in range(count):
        places[near[todo[place]] + 1] += 1
    for distance in range(1, places.size):
        places[distance] += places[distance - 1]
    for entry in todo[:count].copy():
        todo[places[near[entry]]] = entry
        places[near[entry]] += 1
    return count
