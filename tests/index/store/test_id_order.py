"""Ranks compare as ids do, whatever is inserted where."""

from __future__ import annotations

import random
import sqlite3

import numpy as np
import pytest

from proxyhash.index.store.id_order import LAST, Ranks, spread


class Ids:
    """A table of ids with ranks, as a store keeps them."""

    def __init__(self) -> None:
        self.database = sqlite3.connect(":memory:")
        self.database.execute("CREATE TABLE items (row INTEGER PRIMARY KEY, id TEXT UNIQUE)")
        self.ranks = np.empty(0, np.uint64)
        self.moved = 0

    def add(self, ids: list[str]) -> None:
        stored = {id_: row for row, id_ in self.database.execute("SELECT row, id FROM items")}
        known = sorted(stored)
        count = len(self.ranks)
        work = Ranks(self.database, self.ranks, len(ids))
        self.database.executemany("INSERT INTO items VALUES (?, ?)", enumerate(ids, count))
        order = sorted(range(len(ids)), key=ids.__getitem__)
        places = [sum(other < ids[place] for other in known) for place in order]
        before = [stored[known[place - 1]] if place else -1 for place in places]
        after = [stored[known[place]] if place < len(known) else -1 for place in places]
        work.place(*(np.array(x, np.int64) for x in (np.array(order) + count, before, after)))
        self.ranks[list(work.moved)] = list(work.moved.values())
        self.ranks = np.r_[self.ranks, work.new]
        self.moved += len(work.moved)

    def check(self) -> None:
        rows = [row for (row,) in self.database.execute("SELECT row FROM items ORDER BY id")]
        ranks = self.ranks[rows].tolist()
        assert all(a < b for a, b in zip([0, *ranks], [*ranks, LAST], strict=True))


def ascending(number: int) -> str:
    return f"m{number:06d}"


def descending(number: int) -> str:
    return f"m{999_999 - number:06d}"


def inwards(number: int) -> str:
    """Always between the two that came last: what uses gaps up fastest."""
    return "m" + "01" * (number // 2) + "0" * (1 - number % 2) + "1" * (number % 2)


def anywhere(number: int) -> str:
    return f"{random.Random(number).random():.12f}"


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("kind", [ascending, descending, inwards, anywhere])
@pytest.mark.parametrize("around", [[], ["a", "z"], [f"a{n:04d}" for n in range(300)] + ["z"]])
def test_ranks_are_in_the_order_of_ids(kind, size, around) -> None:
    ids = Ids()
    if around:
        ids.add(around)
    total = 200 if kind is inwards else 600
    for start in range(0, total, size):
        ids.add([kind(number) for number in range(start, start + size)])
        ids.check()


def test_few_ranks_move_where_gaps_are_used_up() -> None:
    ids = Ids()
    ids.add([f"{letter}{number:03d}" for letter in "az" for number in range(500)])
    for number in range(800):
        ids.add([ascending(number)])
    ids.check()
    assert 0 < ids.moved < 30 * 800


@pytest.mark.parametrize(
    ("low", "high", "count", "fits"),
    [
        (None, None, 3, True),
        (10, 13, 2, True),
        (10, 13, 3, False),
        (LAST - 4, None, 3, False),
        (None, 2, 3, False),
        (None, None, 10**9, True),
    ],
)
def test_ranks_are_spread_strictly_between_their_neighbors(low, high, count, fits) -> None:
    first, step = spread(count, low=low, high=high)
    assert (step >= 1) == fits
    if fits:
        assert (0 if low is None else low) < first
        assert first + (count - 1) * step < (LAST if high is None else high)


def test_an_end_without_room_is_spread_again() -> None:
    ids = Ids()
    ids.add(["a", "b"])
    ids.ranks[:] = [LAST - 9, LAST - 3]
    ids.add(["c", "d", "aa", "0"])
    ids.check()
