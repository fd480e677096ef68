"""Table of a store's rows at one committed change, which catches up with the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from proxyhash.errors import DataError
from proxyhash.index.store.content import content_errors, read_state

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from proxyhash.index.store.row_log import RowLog

__all__ = ["Growing", "RowTable"]


class Growing:
    """A one-dimensional array that grows at its end without being copied every time.

    Args:
        first: what it holds at first; kept.
    """

    def __init__(self, first: npt.NDArray[Any]) -> None:
        self._room = first
        self.count = len(first)

    @property
    def values(self) -> npt.NDArray[Any]:
        """Its content, as a view whose elements may be changed."""
        return self._room[: self.count]

    def extend(self, more: npt.NDArray[Any]) -> None:
        """Append values."""
        count = self.count + len(more)
        if count > len(self._room):
            room = np.empty(max(count, len(self._room) * 3 // 2), self._room.dtype)
            room[: self.count] = self.values
            self._room = room
        self._room[self.count : count] = more
        self.count = count


class RowTable:
    """The rows of a store at one committed change.

    A row is an item's place in the code files. Rows are only ever appended; an item that is
    deleted or replaced leaves a dead row behind.

    Args:
        modalities: names of the modalities; bit i of a run's flags is modality i.
        order: the log of the ranks that rows were given when they were appended.

    Attributes:
        change: the number of the last change that was taken in.
        count: how many rows there are, dead ones included.
        items: how many items there are.
    """

    def __init__(self, modalities: Sequence[str], order: RowLog) -> None:
        self.modalities = tuple(modalities)
        self.change = -1
        self.count = 0
        self.items = 0
        self._log = order
        self._path = order.path.with_name("items.sqlite")
        self._order = Growing(np.empty(0, np.uint64))
        self._visible = {name: Growing(np.empty(0, np.bool_)) for name in self.modalities}
        self._hidden = dict.fromkeys(self.modalities, 0)

    @property
    def order(self) -> npt.NDArray[np.uint64]:
        """Numbers that compare as the ids of living rows do, uint64 (count,)."""
        return self._order.values

    def written_order(self) -> npt.NDArray[np.uint64]:
        """Return the numbers that rows were given when they were appended, uint64 (count,).

        Of rows that are alive, and of any two that once were at the same time, they compare as the
        ids; `order` has the ones of today. Memory-mapped where nothing is salvaged.
        """
        if self._log.salvaged:
            return self.order
        return self._log.map(self.count)[:, 0]

    def visible(self, modality: str) -> npt.NDArray[np.bool_]:
        """Return which rows are alive and have a code of the modality, bool (count,)."""
        return self._visible[modality].values

    def have(self, modality: str) -> int:
        """Return how many items have a code of the modality."""
        return self.count - self._hidden[modality]

    def refresh(self, database: sqlite3.Connection) -> bool:
        """Load what was committed since; the connection is within a transaction.

        Returns:
            whether there was anything new.
        """
        found = database.execute("SELECT change FROM state").fetchone()
        if found == (self.change,):
            return False
        path = self._path
        change, count, items = read_state(database, path)
        if change < self.change or count < self.count:
            raise DataError(f"{path} is older than it was; restore a snapshot")
        with content_errors(path):
            self._catch_up(database, change, count)
        self.change, self.items = change, items
        return True

    def _catch_up(self, database: sqlite3.Connection, change: int, count: int) -> None:
        if count > self.count:
            self._append(database, count)
        changes = database.execute(
            "SELECT kind, rows FROM changes WHERE change > ? AND change <= ? ORDER BY change",
            (self.change, change),
        )
        for kind, content in changes:
            if kind == "deleted":
                self._hide(_checked(np.unique(np.frombuffer(content, "<i8")), count))
            elif kind == "relabelled":
                pairs = np.frombuffer(content, "<u8").reshape(-1, 2)
                self.order[_checked(pairs[:, 0].astype(np.int64), count)] = pairs[:, 1]
            else:
                raise ValueError(f"a change is {kind!r:.60}")

    def hide(self, modality: str, start: int, stop: int) -> None:
        """Take a modality from rows whose codes are damaged."""
        visible = self.visible(modality)[start:stop]
        self._hidden[modality] += int(visible.sum())
        visible[:] = False

    def _append(self, database: sqlite3.Connection, count: int) -> None:
        start = self.count
        runs = database.execute(
            "SELECT first, modalities FROM runs WHERE first > ?"
            " OR first = (SELECT max(first) FROM runs WHERE first <= ?) ORDER BY first",
            (start, start),
        ).fetchall()
        _check_runs(runs, start, count, 1 << len(self.modalities))
        firsts = np.array([max(first, start) for first, _ in runs], np.int64)
        sizes = np.diff(np.r_[firsts, count])
        flags = np.repeat(np.array([bits for _, bits in runs], np.uint8), sizes)
        ranks = self._log.read(start, count)[:, 0]
        self._order.extend(ranks)
        for place, name in enumerate(self.modalities):
            has = (flags >> place & 1).astype(np.bool_)
            self._visible[name].extend(has)
            self._hidden[name] += len(has) - int(has.sum())
        self.count = count

    def _hide(self, rows: npt.NDArray[np.int64]) -> None:
        for name in self.modalities:
            visible = self.visible(name)
            self._hidden[name] += int(visible[rows].sum())
            visible[rows] = False


def _checked(rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Return rows that are all there."""
    if len(rows) and not 0 <= rows.min() <= rows.max() < count:
        raise ValueError(f"a change is about row {rows.max()} of {count}")
    return rows


def _check_runs(runs: list[tuple[int, int]], start: int, count: int, kinds: int) -> None:
    if not runs or not 0 <= runs[0][0] <= start or runs[-1][0] >= count:
        raise ValueError(f"there are no runs for rows {start} to {count}")
    wrong = [kind for _, kind in runs if not isinstance(kind, int) or not 0 < kind < kinds]
    if wrong:
        raise ValueError(f"a run has the modalities {wrong[0]!r:.60}")


def flags_of(codes: Mapping[str, object], modalities: Sequence[str]) -> int:
    """Return the modalities that codes are given of, as bits."""
    return sum(1 << place for place, name in enumerate(modalities) if name in codes)
