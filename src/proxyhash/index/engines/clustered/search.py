"""The kernel of the clustered engine's search.

A code x in the list of center c is at least |d(q, c) - d(c, x)| from the query q (the triangle
inequality, both ways round). Lists hold their codes by growing d(c, x), so that the codes which may
be within some limit of q are one run of each list, whose ends the list's table tells.

Each query first visits the nearest lists, which sets a limit. Where codes are too many for the
cache, what is left is done list by list: a list is read from memory once for all queries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from proxyhash.codes.kernels import kernel, lean_kernel, popcount
from proxyhash.index.engines.clustered.candidates import (
    HELD,
    INSIDE,
    LAST,
    LIMIT,
    NONE,
    STATES,
    WORK,
    Candidates,
    keep,
    settle,
)

if TYPE_CHECKING:
    from proxyhash.index.engines.clustered.candidates import Goal, Integer
    from proxyhash.index.engines.clustered.centers import Words
    from proxyhash.index.engines.clustered.lists import Lists

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


class Plan(NamedTuple):
    """Queries that are searched together, which lists they visit, and scratch space for it.

    Attributes:
        queries: uint64 (q, W).
        near: uint16 (q, C), the distance of each query to each center.
        bounds: uint16 (q, C), the least distance that a code of the list can have.
        todo: uint32 (3, C), the visits of one query: itself, the lists, and room to sort them.
        later: uint32 (2, v), the visits that are done list by list; empty where none are.
        by_list: uint32 (2, v), the same, sorted.
        places: int64 (C + 1,), to sort them with.
        distances: uint16 (STRIDE,), of the codes that are compared together.
    """

    queries: Words
    near: npt.NDArray[np.uint16]
    bounds: npt.NDArray[np.uint16]
    todo: npt.NDArray[np.uint32]
    later: npt.NDArray[np.uint32]
    by_list: npt.NDArray[np.uint32]
    places: npt.NDArray[np.int64]
    distances: npt.NDArray[np.uint16]


@kernel
def search_lists(
    queries: Words, goal: Goal, room: int, together: bool
) -> tuple[
    npt.NDArray[np.int64], npt.NDArray[np.uint16], npt.NDArray[np.int64], npt.NDArray[np.int64]
]:
    """Return the rows found for each query.

    Rows int64 (m,) and distances uint16 (m,), query after query, each by (distance, order); the
    number of rows of each query, int64 (q,); and the number of codes and centers that each was
    compared with, int64 (q,).

    Args:
        queries: uint64 (q, W).
        goal: what is searched for.
        room: for candidates of each query, more than 2k. One that has more of them, which happens
            without k alone, gets no answer but a count that is greater than the room.
        together: go through the lists after the nearest ones list by list, not query by query:
            better where the codes are larger than the cache.
    """
    size, lists, width = queries.shape[0], goal.lists.centers.shape[0], goal.lists.table.shape[1]
    plan = Plan(
        queries,
        np.empty((size, lists), np.uint16),
        np.empty((size, lists), np.uint16),
        np.empty((3, lists), np.uint32),
        np.empty((2, size * lists if together else 0), np.uint32),
        np.empty((2, size * lists if together else 0), np.uint32),
        np.empty(lists + 1, np.int64),
        np.empty(STRIDE, np.uint16),
    )
    far, who = np.empty((size, room), np.uint16), np.empty((size, room), np.int64)
    tally, state = np.empty((size, width), np.int64), np.empty((size, STATES), np.int64)
    candidates = Candidates(far, who, tally, state, np.empty(width, np.int64))
    _search(goal, plan, candidates)
    counts, compared = state[:, HELD].copy(), state[:, WORK].copy()
    total = 0
    for index in range(size):
        total += min(counts[index], room)
    all_far, all_rows = np.empty(total, np.uint16), np.empty(total, np.int64)
    total = 0
    for index in range(size):
        found = min(counts[index], room)
        all_far[total : total + found] = far[index, :found]
        all_rows[total : total + found] = who[index, :found]
        total += found
    return all_rows, all_far, counts, compared


@lean_kernel
def _search(goal: Goal, plan: Plan, candidates: Candidates) -> None:
    """Leave each query's answers in the candidates; more are HELD than fit if there is no room."""
    tally, state = candidates.tally, candidates.state
    todo, later = plan.todo, plan.later
    lists = plan.near.shape[1]
    waiting = 0
    for index in range(plan.queries.shape[0]):
        tally[index] = 0
        state[index, HELD] = state[index, INSIDE] = 0
        state[index, LIMIT] = goal.radius
        state[index, LAST] = NONE
        state[index, WORK] = lists
        first = _nearest_list(index, goal.lists, plan)
        todo[0, :] = index
        todo[1, 0] = first
        count = 1
        for others in (False, True):
            if others:  # the first list has set a limit to which of them are worth a visit
                count = _worth_a_visit(index, first, state[index, LIMIT], plan, candidates.places)
            now = count
            if later.shape[1] and goal.k and state[index, INSIDE] >= goal.k:
                now = min(count, NEAREST)
            _visit(todo, now, goal, plan, candidates)
        for turn in range(now, count):
            if plan.bounds[index, todo[1, turn]] <= state[index, LIMIT]:
                later[0, waiting], later[1, waiting] = index, todo[1, turn]
                waiting += 1
    if waiting:
        _sort_by_list(plan, waiting)
        _visit(plan.by_list, waiting, goal, plan, candidates)
    for index in range(plan.queries.shape[0]):
        if state[index, HELD] <= candidates.far.shape[1]:
            settle(index, goal, candidates)


@lean_kernel
def _sort_by_list(plan: Plan, count: int) -> None:
    """Sort the first `count` of the later visits by the list."""
    later, places, result = plan.later, plan.places, plan.by_list
    places[:] = 0
    for turn in range(count):
        places[later[1, turn] + 1] += 1
    for place in range(places.size - 1):
        places[place + 1] += places[place]
    for turn in range(count):
        place = places[later[1, turn]]
        result[0, place], result[1, place] = later[0, turn], later[1, turn]
        places[later[1, turn]] = place + 1


@lean_kernel
def _visit(
    visits: npt.NDArray[np.uint32],
    count: int,
    goal: Goal,
    plan: Plan,
    candidates: Candidates,
) -> None:
    """Let queries visit lists: keep those of their codes that are within the limit.

    `visits` holds `count` pairs of a query and a list, (2, v).
    """
    words, table = goal.lists.words, goal.lists.table
    near, bounds, distances = plan.near, plan.bounds, plan.distances
    state, room = candidates.state, candidates.far.shape[1]
    bits = table.shape[1] - 2
    for turn in range(count):
        index, current = np.int64(visits[0, turn]), np.int64(visits[1, turn])
        limit = state[index, LIMIT]
        if bounds[index, current] > limit or state[index, HELD] > room:
            continue
        home = np.int64(near[index, current])
        at = np.int64(0)
        while True:
            # A smaller limit leaves a shorter run of the list. What was checked when it was loaded
            # may have changed in the file since: the run stays within the codes in any case.
            at = max(at, np.int64(table[current, min(max(home - limit, 0), bits + 1)]))
            end = np.int64(table[current, min(home + limit, bits) + 1])
            size = min(end, np.int64(words.shape[0])) - at
            if size <= 0 or state[index, HELD] > room:
                break
            size = min(size, np.int64(STRIDE))
            least = _compare(plan.queries[index], words, at, size, distances)
            state[index, WORK] += size
            if least <= limit:
                for lane in range(size):
                    distance = np.int64(distances[lane])
                    if distance <= limit:
                        keep(index, at + lane, distance, goal, candidates)
                        limit = state[index, LIMIT]
                        if state[index, HELD] > room:
                            break
            at += size


@lean_kernel
def _nearest_list(index: int, lists: Lists, plan: Plan) -> Integer:
    """Fill in each center's distance and the least one of its codes; return the nearest center."""
    near, bounds, spans = plan.near[index], plan.bounds[index], lists.spans
    _compare(plan.queries[index], lists.centers, 0, near.size, near)
    best = np.int64(0x7FFFFFFFFFFFFFFF)
    for place in range(near.size):
        distance = np.int32(near[place])
        outside = distance - np.int32(spans[1, place])
        inside = np.int32(spans[0, place]) - distance
        bounds[place] = np.uint16(max(outside, inside, np.int32(0)))
    for place in range(near.size):
        best = min(best, (np.int64(near[place]) << 32) | place)
    return best & 0xFFFFFFFF


@lean_kernel
def _compare(
    query: npt.NDArray[np.uint64],
    words: Words,
    start: Integer,
    size: Integer,
    result: npt.NDArray[np.uint16],
) -> Integer:
    """Write the distances of `size` codes from row `start` on; return the least of them."""
    # Unsigned indices cannot count from the end, so that these loops can be vectorized.
    width = words.shape[1]
    base = np.uint64(start)
    least = np.uint64(0xFFFF)
    if width == 1:
        word = query[0]
        for lane in range(np.uint64(size)):
            distance = popcount(words[base + lane, 0] ^ word)
            result[lane] = np.uint16(distance)
            least = min(least, distance)
    elif width == 2:
        low, high = query[0], query[1]
        for lane in range(np.uint64(size)):
            distance = popcount(words[base + lane, 0] ^ low)
            distance += popcount(words[base + lane, 1] ^ high)
            result[lane] = np.uint16(distance)
            least = min(least, distance)
    else:
        for lane in range(np.uint64(size)):
            distance = np.uint64(0)
            for place in range(width):
                distance += popcount(words[base + lane, place] ^ query[place])
            result[lane] = np.uint16(distance)
            least = min(least, distance)
    return np.int64(least)


@lean_kernel
def _worth_a_visit(
    index: int, visited: Integer, limit: Integer, plan: Plan, places: npt.NDArray[np.int64]
) -> int:
    """Write the other lists whose bound is within the limit, the nearest first; return how many."""
    near, bounds = plan.near[index], plan.bounds[index]
    todo, spare = plan.todo[1], plan.todo[2]
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
    for place in range(count):
        spare[place] = todo[place]
    for entry in spare[:count]:
        todo[places[near[entry]]] = entry
        places[near[entry]] += 1
    return count
