"""Ranks: numbers that compare as ids do, kept in order as ids are added and deleted.

Order maintenance as in Bender, Cole, Demaine, Farach-Colton and Zito (ESA 2002), "Two simplified
algorithms for maintaining order in a list": ranks have gaps, a new id takes one between its
neighbors', and where a gap is used up, the ranks of a surrounding range are spread again. The
wider the range, the emptier it has to be, which keeps the work small on average.

`Ranks` works inside one transaction: the new ids are in the database already, their ranks are
not, and nothing counts before the transaction commits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import sqlite3

    Order = npt.NDArray[np.uint64]

__all__ = ["Ranks", "spread"]

LAST = 2**64 - 1
FIRST_RANK = 2**60  # most ids come in ascending order, so most of the room is behind the first
OPEN_END = 2**24  # at an end, a rank takes the 16-millionth part of the room that is left
NARROW, WIDEN = 32, 4
LEAST_GAP, GAP_GROWTH = 2**12, 1.3


def spread(count: int, *, low: int | None, high: int | None) -> tuple[int, int]:
    """Return the first of `count` ranks between two others, and the step to the next one.

    Args:
        count: how many ranks are wanted.
        low: the rank before them, None where they come first of all.
        high: the rank after them, None where they come last of all.

    Returns:
        (first, step); a step of 0 says that the gap is used up.
    """
    if low is None and high is None:
        low = FIRST_RANK
    if high is None:
        assert low is not None
        step = (LAST - low) // (count + OPEN_END)
        return low + step, step
    if low is None:
        step = high // (count + OPEN_END)
        return high - count * step, step
    step = (high - low) // (count + 1)
    return low + step, step


@dataclass
class Ranks:
    """The ranks that a transaction gives to new rows, and the old rows it had to move.

    Args:
        database: within a transaction that has the new rows in `items`.
        old: uint64 (n,), the ranks of the rows there were.
        count: how many rows are new; they are n, n + 1, ...
    """

    database: sqlite3.Connection
    old: Order
    count: int
    new: Order = field(init=False)
    moved: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.new = np.zeros(self.count, np.uint64)

    def of(self, row: int) -> int:
        """Return the rank of a row, 0 while it has none."""
        if row >= len(self.old):
            return int(self.new[row - len(self.old)])
        return self.moved.get(row) or int(self.old[row])

    def place(
        self,
        rows: npt.NDArray[np.int64],
        before: npt.NDArray[np.int64],
        after: npt.NDArray[np.int64],
    ) -> None:
        """Give ranks to new rows.

        Args:
            rows: int64 (m,), new rows in the order of their ids.
            before: int64 (m,), the old row with the next smaller id; -1 for none.
            after: int64 (m,), the old row with the next larger id; -1 for none.
        """
        starts = np.flatnonzero(np.r_[True, np.diff(before) != 0][: len(rows)])
        sizes = np.diff(np.r_[starts, len(rows)])
        inner = (before[starts] >= 0) & (after[starts] >= 0)
        low = np.where(inner, self.old[before[starts]], 0) if len(self.old) else starts * 0
        high = np.where(inner, self.old[after[starts]], 0) if len(self.old) else starts * 0
        steps = (high - low).astype(np.uint64) // (sizes + 1).astype(np.uint64)
        places = (np.arange(len(rows)) - np.repeat(starts, sizes) + 1).astype(np.uint64)
        ranks = np.repeat(low.astype(np.uint64), sizes) + np.repeat(steps, sizes) * places
        self.new[rows - len(self.old)] = np.where(np.repeat(steps > 0, sizes), ranks, 0)
        for start, size in zip(starts[steps == 0].tolist(), sizes[steps == 0], strict=True):
            gap = int(before[start]), int(after[start])
            if not self.of(int(rows[start])) and not self._fill(rows[start : start + size], *gap):
                self._spread_around(*gap)

    def _fill(self, rows: npt.NDArray[np.int64], before: int, after: int) -> bool:
        first, step = self._spread(len(rows), before, after)
        if step < 1:
            return False
        ranks = np.uint64(first) + np.arange(len(rows), dtype=np.uint64) * np.uint64(step)
        fresh = rows >= len(self.old)
        self.new[rows[fresh] - len(self.old)] = ranks[fresh]
        self.moved.update(zip(rows[~fresh].tolist(), ranks[~fresh].tolist(), strict=True))
        return True

    def _spread(self, count: int, before: int, after: int) -> tuple[int, int]:
        low = None if before < 0 else self.of(before)
        high = None if after < 0 else self.of(after)
        return spread(count, low=low, high=high)

    def _spread_around(self, before: int, after: int) -> None:
        """Spread ranks in the smallest range around a gap that is empty enough, new rows too."""
        width, gap = NARROW, float(LEAST_GAP)
        while True:
            low, high = self._walk(before, width, down=True), self._walk(after, width, down=False)
            rows = self._between(low, high)
            if self._spread(len(rows), low, high)[1] >= gap or low == high == -1:
                self._fill(rows, low, high)
                return
            width, gap = width * WIDEN, gap * GAP_GROWTH**2

    def _walk(self, row: int, steps: int, *, down: bool) -> int:
        """Return the old row that many ids away, -1 when the ids end before."""
        if row < 0:
            return -1
        # The sign and direction are fixed strings, so nothing of the data is in the statement.
        sign, direction = ("<", "DESC") if down else (">", "ASC")
        found = self.database.execute(
            f"SELECT row FROM items WHERE row < ? AND id {sign}"  # noqa: S608
            f" (SELECT id FROM items WHERE row = ?) ORDER BY id {direction} LIMIT 1 OFFSET ?",
            (len(self.old), row, steps - 1),
        ).fetchone()
        return -1 if found is None else int(found[0])

    def _between(self, low: int, high: int) -> npt.NDArray[np.int64]:
        limits = {">": low, "<": high}
        conditions = [
            f"id {sign} (SELECT id FROM items WHERE row = {row:d})"  # noqa: S608
            for sign, row in limits.items()
            if row >= 0
        ]
        found = self.database.execute(
            f"SELECT row FROM items WHERE {' AND '.join(['1', *conditions])} ORDER BY id"  # noqa: S608
        )
        return np.array([row for (row,) in found], np.int64)
