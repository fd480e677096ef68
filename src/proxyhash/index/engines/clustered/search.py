"""The kernel of the clustered engine's search.

A code x in the list of center c is at least |d(q, c) - d(c, x)| from the query q (the triangle
inequality, both ways round). Lists hold their codes by growing d(c, x), so that the codes which may
be within some limit of q are one run of each list, whose ends the list's table tells.

Each query first visits the nearest lists, which sets a limit. What is left is done list by list
where several queries are searched together: a list is read from memory once for all of them, and
which of them it concerns is found without a branch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from proxyhash.codes.kernels import kernel, lean_kernel, popcount, prefetch
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

__all__ = ["ROOM", "search_lists"]

STRIDE = 256
"""Codes that are dismissed at once; where one of them is near, they are looked at in parts."""

PART = 32
"""Codes that are dismissed at once within a stride."""

LANES = 32
"""Codes compared without a branch, four vectors of eight: whole groups, even beyond a run."""

LOOK = 32
"""Lists whose bounds are looked at together."""

NEAREST = 8
"""Lists that a query visits before the others are done list by list."""

FEW = 48
"""As many lists are sorted by insertion."""

AHEAD = 4
"""How many visits ahead the start of a run is called for."""

ROOM = 256
"""Candidates kept beyond 2k before the ties at the limit are put in order."""

BEYOND = np.uint64(1 << 32)


class Plan(NamedTuple):
    """Queries that are searched together, and scratch space for it.

    Attributes:
        queries: uint64 (q * W,).
        words: uint64 (D * W,), the codes of all lists.
        centers: uint64 (C * W,).
        near: uint16 (C,), the distance of one query to each center.
        bounds: uint16 (C,), the least distance that a code of the list can have to it.
        todo: uint32 (2, C), the lists that are worth a visit, and room to sort them.
        seen: uint64 (q, ceil(C / 64)), a bit for each list that a query has visited.
        limits: int32 (q,), the farthest a row may be; -1 for queries that are done.
        homes: uint16 (q,), the distance of each query to one center.
        beyond: int32 (q,), by how much the codes of that list are beyond the limits at least.
        visits: uint32 (3, max(C, q) + 1), what is done in a row: queries, the lists they visit,
            and how far the query is from the center.
    """

    queries: npt.NDArray[np.uint64]
    words: npt.NDArray[np.uint64]
    centers: npt.NDArray[np.uint64]
    near: npt.NDArray[np.uint16]
    bounds: npt.NDArray[np.uint16]
    todo: npt.NDArray[np.uint32]
    seen: npt.NDArray[np.uint64]
    limits: npt.NDArray[np.int32]
    homes: npt.NDArray[np.uint16]
    beyond: npt.NDArray[np.int32]
    visits: npt.NDArray[np.uint32]


@kernel
def search_lists(
    queries: Words, goal: Goal, room: int, together: bool
) -> tuple[
    npt.NDArray[np.int64], npt.NDArray[np.uint16], npt.NDArray[np.int64], npt.NDArray[np.int64]
]:
    """Return the rows found for each query.

    Rows int64 (m,) and distances uint16 (m,), query after query, each by (distance, order); where
    those of each query start, and the end, int64 (q + 1,); and the number of codes and centers that
    each was compared with, int64 (q,).

    Args:
        queries: uint64 (q, W).
        goal: what is searched for.
        room: for candidates of each query, more than 2k. One that has more of them, which happens
            without k alone, gets no answer but more rows than there is room for.
        together: go through the lists after the nearest ones list by list, not query by query:
            better where the codes are larger than the cache.
    """
    size, lists, width = queries.shape[0], goal.lists.centers.shape[0], goal.lists.table.shape[1]
    plan = Plan(
        np.ascontiguousarray(queries).reshape(-1),
        goal.lists.words.reshape(-1),
        goal.lists.centers.reshape(-1),
        np.empty(lists, np.uint16),
        np.empty(lists, np.uint16),
        np.empty((2, lists), np.uint32),
        np.zeros((size, -(-lists // 64)), np.uint64),
        np.empty(size, np.int32),
        np.empty(size, np.uint16),
        np.empty(size, np.int32),
        np.empty((3, max(lists, size) + 1), np.uint32),
    )
    far, who = np.empty((size, room), np.uint16), np.empty((size, room), np.int64)
    tally, state = np.empty((size, width), np.int64), np.empty((size, STATES), np.int64)
    candidates = Candidates(far, who, tally, state, np.empty(width, np.int64))
    _search(goal, plan, candidates, together)
    offsets, held = np.zeros(size + 1, np.int64), state[:, HELD]
    for index in range(size):
        offsets[index + 1] = offsets[index] + held[index]
    all_far, all_rows = np.empty(offsets[size], np.uint16), np.empty(offsets[size], np.int64)
    for index in range(size):
        found = min(held[index], room)
        all_far[offsets[index] : offsets[index] + found] = far[index, :found]
        all_rows[offsets[index] : offsets[index] + found] = who[index, :found]
    return all_rows, all_far, offsets, state[:, WORK].copy()


@lean_kernel
def _search(goal: Goal, plan: Plan, candidates: Candidates, together: bool) -> None:
    """Leave each query's answers in the candidates; more are HELD than fit if there is no room."""
    tally, state, room = candidates.tally, candidates.state, candidates.far.shape[1]
    near, limits, visits, seen = plan.near, plan.limits, plan.visits, plan.seen
    for index in range(limits.size):
        tally[index] = 0
        state[index, HELD] = state[index, INSIDE] = 0
        state[index, LIMIT] = limits[index] = goal.radius
        state[index, LAST] = NONE
        state[index, WORK] = near.size
        if together and not goal.k:
            continue
        visits[0, :] = index
        first = _nearest_list(index, goal, plan)
        visits[1, 0], visits[2, 0] = first, near[first]
        _visit(1, goal, plan, candidates)
        # The first list has set a limit to which of them are worth a visit.
        count = _worth_a_visit(first, state[index, LIMIT], plan, candidates.places)
        if together and state[index, INSIDE] >= goal.k:
            count = min(count, NEAREST)
        for turn in range(count):
            current = plan.todo[0, turn]
            visits[1, turn], visits[2, turn] = current, near[current]
        _visit(count, goal, plan, candidates)
        if together:
            for current in plan.todo[0, :count]:
                seen[index, current >> 6] |= np.uint64(1) << np.uint64(current & 63)
            seen[index, first >> 6] |= np.uint64(1) << np.uint64(first & 63)
        limits[index] = state[index, LIMIT] if state[index, HELD] <= room else -1
    if together:
        _visit_by_list(goal, plan, candidates)
    for index in range(limits.size):
        if state[index, HELD] <= room:
            settle(index, goal, candidates)


@lean_kernel
def _visit_by_list(goal: Goal, plan: Plan, candidates: Candidates) -> None:
    """Let each list be visited by all queries that it may concern and that have not yet."""
    centers, spans, limits = plan.centers, goal.lists.spans, plan.limits
    state, room = candidates.state, candidates.far.shape[1]
    width = centers.size // spans.shape[1]
    for current in range(spans.shape[1]):
        least, most = np.int64(spans[0, current]), np.int64(spans[1, current])
        if least > most:  # empty
            continue
        center = centers[current * width : (current + 1) * width]
        count = _visitors_of(center, current, least, most, plan)
        _visit(count, goal, plan, candidates)
        for turn in range(count):
            index = plan.visits[0, turn]
            limits[index] = state[index, LIMIT] if state[index, HELD] <= room else -1


@lean_kernel
def _visitors_of(
    center: npt.NDArray[np.uint64], current: Integer, least: Integer, most: Integer, plan: Plan
) -> int:
    """Write the visits that a list between two distances may be worth; return how many."""
    homes, limits, beyond, visits = plan.homes, plan.limits, plan.beyond, plan.visits
    _compare(center, plan.queries, homes.size, homes)
    low, high = np.int32(least), np.int32(most)
    for index in range(np.uint64(homes.size)):
        home = np.int32(homes[index])
        beyond[index] = max(np.int32(home - high), np.int32(low - home)) - limits[index]
    count, word, bit = 0, current >> 6, np.uint64(current & 63)
    for start in range(0, homes.size, LOOK):
        base, nearest = np.uint64(start), np.int32(1)
        size = min(LOOK, homes.size - start)
        for lane in range(np.uint64(size)):
            nearest = min(nearest, beyond[base + lane])
        if nearest <= 0:
            for index in range(start, start + size):
                visits[0, count], visits[1, count] = index, current
                visits[2, count] = homes[index]
                unseen = ~(plan.seen[index, word] >> bit) & np.uint64(1)
                count += int(beyond[index] <= 0) & int(unseen)
    return count


@lean_kernel
def _visit(count: Integer, goal: Goal, plan: Plan, candidates: Candidates) -> None:
    """Let queries visit lists: keep those of their codes that are within the limit."""
    words, table, visits = plan.words, goal.lists.table, plan.visits
    bits, width = table.shape[1] - 2, goal.lists.words.shape[1]
    codes, room = words.size // width, candidates.far.shape[1]
    skip = 0 if goal.mask.size else np.int64(goal.k)
    for turn in range(count):
        index, current = np.int64(visits[0, turn]), np.int64(visits[1, turn])
        home, limit = np.int64(visits[2, turn]), candidates.state[index, LIMIT]
        query = plan.queries[index * width : (index + 1) * width]
        # What was checked when it was loaded may have changed in the file since: the run stays
        # within the codes in any case.
        at = np.int64(table[current, min(max(home - limit, 0), bits + 1)])
        end = min(np.int64(table[current, min(home + limit, bits) + 1]), codes)
        begin = at
        if turn + AHEAD < count:
            _call_for(turn + AHEAD, goal, plan, limit)
        while at < end and candidates.state[index, HELD] <= room:
            stop = min(at + STRIDE, end)
            candidates.state[index, WORK] += stop - at
            if not _all_beyond(query, words, at, stop, limit):
                for start in range(at, stop, PART):
                    last = min(start + PART, stop)
                    if _all_beyond(query, words, start, last, limit):
                        continue
                    for code in range(start, last):
                        distance = _distance(query, words, code)
                        if distance > limit or _is_repeated(words, code, begin, skip, width):
                            continue
                        keep(index, code, distance, goal, candidates)
                        limit = candidates.state[index, LIMIT]
                        if candidates.state[index, HELD] > room:
                            break
                # A smaller limit leaves a shorter run of the list.
                stop = max(stop, np.int64(table[current, min(max(home - limit, 0), bits + 1)]))
                end = min(end, np.int64(table[current, min(home + limit, bits) + 1]))
            at = stop


@lean_kernel
def _call_for(turn: Integer, goal: Goal, plan: Plan, limit: Integer) -> None:
    """Have the start of a run read from memory, whose visit comes soon."""
    table, visits = goal.lists.table, plan.visits
    least = min(max(np.int64(visits[2, turn]) - limit, 0), table.shape[1] - 1)
    at = np.int64(table[visits[1, turn], least]) * goal.lists.words.shape[1]
    if at + 16 < plan.words.size:
        prefetch(plan.words, at)
        prefetch(plan.words, at + 8)
        prefetch(plan.words, at + 16)


@lean_kernel
def _distance(
    query: npt.NDArray[np.uint64], words: npt.NDArray[np.uint64], code: Integer
) -> Integer:
    if query.size == 1:
        return np.int64(popcount(words[code] ^ query[0]))
    distance = np.int64(0)
    for place in range(query.size):
        distance += np.int64(popcount(words[code * query.size + place] ^ query[place]))
    return distance


@lean_kernel
def _is_repeated(
    words: npt.NDArray[np.uint64], code: Integer, begin: Integer, skip: Integer, width: Integer
) -> np.bool_:
    """Whether a code is the same as each of the `skip` ones before it, of a run from `begin` on.

    Equal codes follow each other by the order of their rows, so that more than k never count.
    """
    if not skip or code - skip < begin:
        return np.bool_(False)
    for place in range(width):
        if words[code * width + place] != words[(code - skip) * width + place]:
            return np.bool_(False)
    return np.bool_(True)


@lean_kernel
def _nearest_list(index: Integer, goal: Goal, plan: Plan) -> Integer:
    """Fill in each center's distance and the least one of its codes; return the nearest center."""
    near, bounds, spans = plan.near, plan.bounds, goal.lists.spans
    width = plan.centers.size // near.size
    _compare(plan.queries[index * width : (index + 1) * width], plan.centers, near.size, near)
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
    words: npt.NDArray[np.uint64],
    size: Integer,
    result: npt.NDArray[np.uint16],
) -> None:
    """Write the distances of the first `size` codes."""
    # Unsigned indices cannot count from the end, so that these loops can be vectorized.
    width = query.size
    if width == 1:
        word = query[0]
        for lane in range(np.uint64(size)):
            result[lane] = np.uint16(popcount(words[lane] ^ word))
    else:
        for lane in range(np.uint64(size)):
            distance = np.uint64(0)
            for place in range(width):
                distance += popcount(
                    words[lane * np.uint64(width) + np.uint64(place)] ^ query[place]
                )
            result[lane] = np.uint16(distance)


@lean_kernel
def _all_beyond(
    query: npt.NDArray[np.uint64],
    words: npt.NDArray[np.uint64],
    first: Integer,
    last: Integer,
    limit: Integer,
) -> np.bool_:
    """Whether the codes from `first` to `last`, and some after these, are beyond the limit.

    Free of branches as the scan's `all_beyond`, and in whole groups of lanes as long as there are
    codes: those after a run are beyond the limit, too, or another list's, which does no harm.
    """
    width = query.size
    gap, every = BEYOND - np.uint64(limit + 1), BEYOND
    whole = first + (last - first + LANES - 1) // LANES * LANES
    if whole * width > words.size:
        whole = last
    if width == 1:
        word = query[0]
        for place in range(np.uint64(first), np.uint64(whole)):
            every &= popcount(words[place] ^ word) + gap
    elif width == 2:
        low, high = query[0], query[1]
        for place in range(np.uint64(first), np.uint64(whole)):
            distance = popcount(words[np.uint64(2) * place] ^ low)
            distance += popcount(words[np.uint64(2) * place + np.uint64(1)] ^ high)
            every &= distance + gap
    else:
        for row in range(first, last):
            distance = np.uint64(0)
            for place in range(width):
                distance += popcount(words[row * width + place] ^ query[place])
            every &= distance + gap
    return np.bool_(every != 0)


@lean_kernel
def _worth_a_visit(
    visited: Integer, limit: Integer, plan: Plan, places: npt.NDArray[np.int64]
) -> int:
    """Write the other lists whose bound is within the limit, the nearest first; return how many."""
    near, bounds = plan.near, plan.bounds
    todo, spare = plan.todo[0], plan.todo[1]
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
