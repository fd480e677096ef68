"""The kernel of the clustered engine's search.

A code x in the list of centre c is at least |d(q, c) - d(c, x)| from the query q (the triangle
inequality, both ways round). Lists hold their codes by growing d(c, x), so that the codes which may
be within some limit of q are one run of each list, whose ends the list's table tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numba.extending import intrinsic

from proxyhash.codes.kernels import kernel, popcount

if TYPE_CHECKING:
    from proxyhash.index.engines.centres import Words

__all__ = ["search_lists"]

STRIDE = 256
"""Codes compared before the nearest of them is looked at; the limit is renewed as often."""

LOOK = 32
"""Lists whose bounds are looked at together."""

ROOM = 1024
"""Candidates kept beyond 2k before the ties at the limit are put in order."""

FEW = 48
"""As many candidates are sorted by insertion."""

# What is known in the midst of a search: the farthest a row may be, the last row kept at that
# distance (NONE: any may be), candidates held and those of them within the limit, codes compared.
LIMIT, LAST, HELD, INSIDE, WORK, STATES = range(6)
NONE = -1


@intrinsic  # type: ignore[untyped-decorator]
def bare(_: Any, array: Any) -> Any:
    """Return a view of an array that counts no references: it must not outlive the array.

    Counting is atomic, on one place in memory for all threads; done at every call of a small
    function it takes several times as long as the search itself.
    """

    def generate(*code: Any) -> Any:
        context, builder, _, arguments = code
        view = context.make_array(array)(context, builder, value=arguments[0])
        for field in ("meminfo", "parent"):
            setattr(view, field, getattr(view, field).type(None))
        return view._getvalue()

    return array(array), generate


@kernel
def search_lists(
    queries: Words,
    centres: Words,
    spans: npt.NDArray[np.uint16],
    table: npt.NDArray[np.uint32],
    words: Words,
    starts: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.uint32],
    order: npt.NDArray[np.uint64],
    mask: npt.NDArray[np.bool_],
    k: int,
    radius: int,
    counts: npt.NDArray[np.int64],
    compared: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16]]:
    """Return the rows and distances found, query after query, each by (distance, order).

    Args:
        queries: (q, W).
        centres: (C, W).
        spans: (2, C), the least and the greatest distance of a list's codes from its centre.
        table: (C, K + 2); `table[c, x]` is the first code of list c that is at least x from it,
            and `table[c, K + 1]` the end of the list.
        words: (D, W), the codes, list after list.
        starts: (D + 1,), where the rows of each code start; empty where each has one.
        rows: (n,), rows of one code by their order.
        order: (n,) by row, or empty: the row itself.
        mask: (n,) by row, or empty: all are allowed.
        k: at most this many rows a query; 0 for all within the radius.
        radius: no row farther than this.
        counts: (q,), how many rows each query found, written here.
        compared: (q,), how many codes and centres each was compared with, written here.
    """
    near = np.empty(centres.shape[0], np.uint16)
    bounds = np.empty(centres.shape[0], np.uint16)
    todo = np.empty(centres.shape[0], np.int64)
    scratch = np.empty(STRIDE, np.uint16)
    tally = np.empty(table.shape[1], np.int64)
    places = np.empty(table.shape[1], np.int64)
    state = np.empty(STATES, np.int64)
    room = ROOM + 2 * k
    far, who = np.empty(room, np.uint16), np.empty(room, np.int64)
    all_far, all_rows = np.empty(room, np.uint16), np.empty(room, np.int64)
    total = 0
    for index in range(queries.shape[0]):
        while True:
            _search_one(
                bare(queries), index, bare(centres), bare(spans), bare(table), bare(words),
                bare(starts), bare(rows), bare(order), bare(mask), k, radius, bare(near),
                bare(bounds), bare(todo), bare(scratch), bare(far), bare(who), bare(tally),
                bare(places), bare(state),
            )  # fmt: skip
            if state[HELD] <= far.size:
                break
            far, who = np.empty(2 * far.size, np.uint16), np.empty(2 * far.size, np.int64)
        found = state[HELD]
        if total + found > all_rows.size:
            all_far, all_rows = _longer(all_far, total + found), _longer(all_rows, total + found)
        all_rows[total : total + found] = who[:found]
        all_far[total : total + found] = far[:found]
        total += found
        counts[index] = found
        compared[index] = state[WORK]
    return all_rows[:total], all_far[:total]


@kernel
def _search_one(
    queries: Words,
    index: int,
    centres: Words,
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
    todo: npt.NDArray[np.int64],
    scratch: npt.NDArray[np.uint16],
    far: npt.NDArray[np.uint16],
    who: npt.NDArray[np.int64],
    tally: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    state: npt.NDArray[np.int64],
) -> None:
    """Leave one query's answers in `far` and `who`; more are HELD than fit if there is no room."""
    tally[:] = 0
    state[HELD] = state[INSIDE] = 0
    state[LIMIT] = radius
    state[LAST] = NONE
    state[WORK] = near.size
    first = _nearest_list(queries, index, centres, spans, near, bounds)
    todo[0] = first
    for others in (False, True):
        # The first list sets a limit to which of the others are worth a visit.
        count = 1
        if others:
            count = _worth_a_visit(near, bounds, state[LIMIT], first, places, todo)
        _scan_lists(
            queries, index, todo, count, near, bounds, table, words, starts, rows, order, mask,
            k, scratch, far, who, tally, places, state,
        )  # fmt: skip
        if state[HELD] > far.size:
            return
    _settle(far, who, order, k, tally, places, state)


@kernel
def _scan_lists(
    queries: Words,
    index: int,
    todo: npt.NDArray[np.int64],
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
    """Compare the codes of `count` lists that may be within the limit, and keep those that are."""
    bits = table.shape[1] - 2
    for turn in range(count):
        current = todo[turn]
        if bounds[current] > state[LIMIT]:
            continue
        home = np.int64(near[current])
        at = np.int64(0)
        while True:
            # A smaller limit leaves a shorter run of the list.
            limit = state[LIMIT]
            at = max(at, np.int64(table[current, max(home - limit, 0)]))
            size = np.int64(table[current, min(home + limit, bits) + 1]) - at
            if size <= 0:
                break
            size = min(size, STRIDE)
            least = _compare(queries, index, words, at, size, scratch)
            state[WORK] += size
            if least <= limit:
                for lane in range(size):
                    distance = np.int64(scratch[lane])
                    if distance <= limit:
                        _keep(
                            at + lane, distance, starts, rows, order, mask, k,
                            far, who, tally, places, state,
                        )  # fmt: skip
                        limit = state[LIMIT]
                        if state[HELD] > far.size:
                            return
            at += size


@kernel
def _keep(
    code: int,
    distance: int,
    starts: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.uint32],
    order: npt.NDArray[np.uint64],
    mask: npt.NDArray[np.bool_],
    k: int,
    far: npt.NDArray[np.uint16],
    who: npt.NDArray[np.int64],
    tally: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    state: npt.NDArray[np.int64],
) -> None:
    """Keep the first k allowed rows of a code as candidates, and lower the limit they set."""
    start, stop = np.int64(code), np.int64(code) + 1
    if starts.size:
        start, stop = np.int64(starts[code]), np.int64(starts[code + 1])
    taken = 0
    for entry in range(start, stop):
        row = np.int64(rows[entry])
        if mask.size and not mask[row]:
            continue
        last = state[LAST]
        if last != NONE and distance == state[LIMIT] and _rank(row, order) > _rank(last, order):
            break  # the rest of this code's rows come later still
        held = state[HELD]
        if held == far.size:
            if k == 0:
                state[HELD] += 1  # no room: the caller makes some and starts again
                return
            held = _settle(far, who, order, k, tally, places, state)
            if distance > state[LIMIT]:
                return
        far[held] = distance
        who[held] = row
        state[HELD] = held + 1
        state[INSIDE] += 1
        tally[distance] += 1
        taken += 1
        if taken == k:
            break
    while k and state[INSIDE] - tally[state[LIMIT]] >= k:
        state[INSIDE] -= tally[state[LIMIT]]
        state[LIMIT] -= 1
        state[LAST] = NONE


@kernel
def _nearest_list(
    queries: Words,
    index: int,
    centres: Words,
    spans: npt.NDArray[np.uint16],
    near: npt.NDArray[np.uint16],
    bounds: npt.NDArray[np.uint16],
) -> int:
    """Fill in each centre's distance and the least one of its codes; return the nearest centre."""
    _compare(queries, index, centres, 0, near.size, near)
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
    index: int,
    words: Words,
    start: int,
    size: int,
    result: npt.NDArray[np.uint16],
) -> int:
    """Write the distances of `size` codes from row `start` on; return the least of them."""
    # Unsigned indices cannot count from the end, so that these loops can be vectorised. (A slice
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
    limit: int,
    visited: int,
    places: npt.NDArray[np.int64],
    todo: npt.NDArray[np.int64],
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


@kernel
def _settle(
    far: npt.NDArray[np.uint16],
    who: npt.NDArray[np.int64],
    order: npt.NDArray[np.uint64],
    k: int,
    tally: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    state: npt.NDArray[np.int64],
) -> int:
    """Sort the candidates by (distance, order), keep the first k (0: all), and count them."""
    held = 0
    for place in range(state[HELD]):
        if far[place] <= state[LIMIT]:
            far[held], who[held] = far[place], who[place]
            held += 1
    if held <= FEW:
        for place in range(1, held):
            distance, row = far[place], who[place]
            hole = place
            while hole > 0 and (
                far[hole - 1] > distance
                or (far[hole - 1] == distance and _rank(who[hole - 1], order) > _rank(row, order))
            ):
                far[hole], who[hole] = far[hole - 1], who[hole - 1]
                hole -= 1
            far[hole], who[hole] = distance, row
    else:
        _sort(far[:held], who[:held], order, places)
    tally[:] = 0
    if k and held >= k:
        held = k
        state[LIMIT] = far[k - 1]
        state[LAST] = who[k - 1]
    for place in range(held):
        tally[far[place]] += 1
    state[HELD] = state[INSIDE] = held
    return held


@kernel
def _sort(
    far: npt.NDArray[np.uint16],
    who: npt.NDArray[np.int64],
    order: npt.NDArray[np.uint64],
    places: npt.NDArray[np.int64],
) -> None:
    """Sort many candidates by (distance, order): by order first, then by counting distances."""
    ranks = np.empty(who.size, np.uint64)
    for place in range(who.size):
        ranks[place] = _rank(who[place], order)
    sequence = np.argsort(ranks)
    places[:] = 0
    for distance in far:
        places[distance + 1] += 1
    for distance in range(1, places.size):
        places[distance] += places[distance - 1]
    old_far, old_who = far.copy(), who.copy()
    for entry in sequence:
        place = places[old_far[entry]]
        places[old_far[entry]] = place + 1
        far[place] = old_far[entry]
        who[place] = old_who[entry]


@kernel
def _rank(row: int, order: npt.NDArray[np.uint64]) -> np.uint64:
    return order[row] if order.size else np.uint64(row)


@kernel
def _longer(array, size):  # type: ignore[no-untyped-def]
    """Return a copy with room for twice `size` entries."""
    result = np.empty(2 * size, array.dtype)
    result[: array.size] = array
    return result
