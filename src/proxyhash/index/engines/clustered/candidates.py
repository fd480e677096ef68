"""The nearest rows found so far, for the clustered engine's kernels.

Candidates lie in no order until there are too many of them. Their distances are counted, so that
the k-th of them is always known: it is the limit for those to come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from proxyhash.codes.kernels import kernel, lean_kernel

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy.typing as npt

    from proxyhash.index.engines.clustered.lists import Lists

    Integer: TypeAlias = int | np.integer[Any]

__all__ = [
    "HELD",
    "INSIDE",
    "LAST",
    "LIMIT",
    "NONE",
    "STATES",
    "WORK",
    "Candidates",
    "Goal",
    "keep",
    "settle",
]

# What is known in the midst of a search: the farthest a row may be, the last row kept at that
# distance (NONE: any may be), candidates held and those of them within the limit, codes compared.
LIMIT, LAST, HELD, INSIDE, WORK, STATES = range(6)
NONE = -1

FEW = 48
"""As many candidates are sorted by insertion."""


class Goal(NamedTuple):
    """Arguments of a search that are the same for all queries.

    Attributes:
        lists: the codes.
        order: uint64 (n,) by row, or empty: the row itself.
        mask: bool (n,) by row, or empty: all are allowed.
        k: at most this many rows per query; 0 for all within the radius.
        radius: no row farther than this.
    """

    lists: Lists
    order: npt.NDArray[np.uint64]
    mask: npt.NDArray[np.bool_]
    k: int
    radius: int


class Candidates(NamedTuple):
    """The nearest rows of each of q queries so far, in no order until they are settled.

    Attributes:
        far: uint16 (q, room), their distances.
        who: int64 (q, room), their rows.
        tally: int64 (q, K + 2), how many of them lie at each distance.
        state: int64 (q, STATES), what is known of each query: `LIMIT` and the others.
        places: int64 (K + 2,), scratch space to sort in.
    """

    far: npt.NDArray[np.uint16]
    who: npt.NDArray[np.int64]
    tally: npt.NDArray[np.int64]
    state: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]


@lean_kernel
def keep(
    index: Integer, code: Integer, distance: Integer, goal: Goal, candidates: Candidates
) -> None:
    """Keep the first k allowed rows of a code for query `index`, and lower the limit they set."""
    rows, order, mask, k = goal.lists.rows, goal.order, goal.mask, goal.k
    far, who = candidates.far[index], candidates.who[index]
    tally, state = candidates.tally[index], candidates.state[index]
    start, stop = np.int64(code), np.int64(code) + 1
    if goal.lists.starts.size:
        start, stop = np.int64(goal.lists.starts[code]), np.int64(goal.lists.starts[code + 1])
    taken = 0
    for entry in range(start, min(stop, np.int64(rows.size))):
        row = np.int64(rows[entry])
        if row >= rows.size or (mask.size and not mask[row]):
            continue
        last = state[LAST]
        if last != NONE and distance == state[LIMIT] and _rank(row, order) > _rank(last, order):
            break  # the rest of this code's rows come later still
        held = state[HELD]
        if held >= far.size:
            if k == 0:
                state[HELD] = far.size + 1  # no room: the caller makes some and starts again
                return
            held = settle(index, goal, candidates)
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


@lean_kernel
def settle(index: Integer, goal: Goal, candidates: Candidates) -> int:
    """Sort the candidates of query `index` by (distance, order); keep the first k (0: all).

    Returns:
        how many are left.
    """
    order, k = goal.order, goal.k
    far, who = candidates.far[index], candidates.who[index]
    tally, state = candidates.tally[index], candidates.state[index]
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
        _sort(far[:held], who[:held], order, candidates.places)
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


@lean_kernel
def _rank(row: Integer, order: npt.NDArray[np.uint64]) -> np.uint64:
    return order[row] if order.size else np.uint64(row)
