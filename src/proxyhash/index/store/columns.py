"""Which rows have a payload that meets a filter, without reading the payloads at every search.

The first filter on a field reads the payloads once and notes a number for every row: the place of
its value among the different values of the field; likewise for the members of lists. A condition
is then asked of the different values only.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.index.filters import And, Contains, Equals, Not, Or, Range
from proxyhash.index.store.values import Values

if TYPE_CHECKING:
    import sqlite3

    import numpy.typing as npt

    from proxyhash.index.filters import Filter

    Mask = npt.NDArray[np.bool_]

__all__ = ["Columns"]

BATCH = 50_000
_NO_SCALAR = object()


class Column:
    """One field of all payloads.

    Attributes:
        count: how many rows it covers.
    """

    def __init__(self) -> None:
        self.count = 0
        self._values = Values([None, _NO_SCALAR])  # 0 is a missing field, 1 a list or an object
        self._members = Values([])
        self._numbers: list[npt.NDArray[np.uint32]] = []
        self._pairs: list[npt.NDArray[np.int64]] = []

    def extend(self, found: list[tuple[int, object]], *, rows: int) -> None:
        """Take in values that are not null, by row; the column then covers `rows` rows."""
        numbers = np.zeros(rows - self.count, np.uint32)
        pairs = []
        for row, value in found:
            if isinstance(value, list):
                members = (one for one in value if not isinstance(one, list | dict))
                pairs += [(row, self._members.number(one)) for one in members]
                numbers[row - self.count] = 1
            elif isinstance(value, dict):
                numbers[row - self.count] = 1
            else:
                numbers[row - self.count] = self._values.number(value)
        self._numbers.append(numbers)
        self._pairs.append(np.array(pairs, np.int64).reshape(-1, 2))
        self.count = rows

    def meets(self, condition: Equals | Contains | Range) -> Mask:
        """Return which rows meet a condition on this field, bool (count,)."""
        self._numbers = [np.concatenate([np.empty(0, np.uint32), *self._numbers])]
        if not isinstance(condition, Contains):
            meets: Mask = self._values.meet(condition)[self._numbers[0]]
            return meets
        self._pairs = [np.concatenate([np.empty((0, 2), np.int64), *self._pairs])]
        rows, numbers = self._pairs[0].T
        mask = np.zeros(self.count, np.bool_)
        same = self._members.meet(Equals(condition.field, condition.value))
        mask[rows[same[numbers]]] = True
        return mask


class Columns:
    """The fields that filters asked for so far.

    Memory: 4 bytes a row and field, 16 a member of a list, and the different values.
    """

    def __init__(self) -> None:
        self._columns: dict[str, Column] = {}

    def matching(self, filter: Filter, database: sqlite3.Connection, *, rows: int) -> Mask:  # noqa: A002
        """Return which of the first `rows` rows meet a filter, bool (rows,).

        Dead rows count as having the payload they had, or none.

        Args:
            filter: what is asked; it means what `filters.matches` says.
            database: within a transaction that sees these rows.
            rows: how many rows there are, never fewer than in an earlier call.
        """
        behind: dict[int, list[str]] = {}
        for field in _fields(filter):
            column = self._columns.setdefault(field, Column())
            if column.count < rows:
                behind.setdefault(column.count, []).append(field)
        for first, fields in behind.items():
            self._read(fields, database, first=first, rows=rows)
        return self._mask(filter, rows)

    def _mask(self, filter: Filter, rows: int) -> Mask:  # noqa: A002
        match filter:
            case And(parts):
                masks = (self._mask(part, rows) for part in parts)
                return np.logical_and.reduce([np.ones(rows, np.bool_), *masks])
            case Or(parts):
                masks = (self._mask(part, rows) for part in parts)
                return np.logical_or.reduce([np.zeros(rows, np.bool_), *masks])
            case Not(part):
                return ~self._mask(part, rows)
            case _:
                return self._columns[filter.field].meets(filter)

    def _read(
        self, fields: list[str], database: sqlite3.Connection, *, first: int, rows: int
    ) -> None:
        """Read fields that have got equally far, together."""
        payloads = database.execute(
            "SELECT row, payload FROM items WHERE row >= ? AND row < ? ORDER BY row", (first, rows)
        )
        decode = json.loads
        while batch := payloads.fetchmany(BATCH):
            decoded = [(row, decode(text)) for row, text in batch]
            reached = decoded[-1][0] + 1
            for field in fields:
                found = [(row, one[field]) for row, one in decoded if one.get(field) is not None]
                self._columns[field].extend(found, rows=reached)
        for field in fields:
            self._columns[field].extend([], rows=rows)


def _fields(filter: Filter) -> set[str]:  # noqa: A002
    match filter:
        case And(parts) | Or(parts):
            return set().union(*map(_fields, parts))
        case Not(part):
            return _fields(part)
        case _:
            return {filter.field}
