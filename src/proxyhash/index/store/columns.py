"""Which rows have a payload that meets a filter, without reading the payloads at every search.

The first filter on a field reads the payloads once and notes a number for every row: the place of
its value among the different values of the field. A condition is then asked of the different
values only, by `matches` itself, so that it means here what it means everywhere.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.index.filters import And, Contains, Equals, Not, Or, Range, matches
from proxyhash.index.store.rows import Growing

if TYPE_CHECKING:
    import sqlite3

    import numpy.typing as npt

    from proxyhash.index.filters import Filter

    Mask = npt.NDArray[np.bool_]

__all__ = ["Columns"]

BATCH = 50_000


class Column:
    """The values of one field, each different one once; value 0 is null, as for a missing field.

    Attributes:
        numbers: uint32 (n,), the place of each row's value.
        values: the different values.
    """

    def __init__(self) -> None:
        self.numbers = Growing(np.empty(0, np.uint32))
        self.values: list[object] = [None]
        self._places: dict[object, int] = {(type(None), None): 0}

    def place(self, value: object) -> int:
        """Return the number of a value, a new one where it is new."""
        # 1, 1.0 and true are equal as keys of a dict, but not as values of a field.
        scalar = not isinstance(value, list | dict)
        key = (type(value), value) if scalar else (list, json.dumps(value))
        number = self._places.setdefault(key, len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number


class Columns:
    """The fields that filters asked for so far.

    Memory: 4 bytes a row and field, and the different values.
    """

    def __init__(self) -> None:
        self._columns: dict[str, Column] = {}

    def matching(self, filter: Filter, database: sqlite3.Connection, *, rows: int) -> Mask:  # noqa: A002
        """Return which of the first `rows` rows meet a filter, bool (rows,).

        Dead rows count as having the payload they had, or none.

        Args:
            filter: what is asked.
            database: within a transaction that sees these rows.
            rows: how many rows there are.
        """
        self._read(_fields(filter), database, rows)
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
            case Equals(field) | Contains(field) | Range(field):
                column = self._columns[field]
                holds = [matches(filter, {field: value}) for value in column.values]
                mask: Mask = np.array(holds, np.bool_)[column.numbers.values[:rows]]
                return mask

    def _read(self, fields: set[str], database: sqlite3.Connection, rows: int) -> None:
        """Catch up with the rows; fields that have got equally far are read together."""
        behind: dict[int, list[tuple[str, Column]]] = {}
        for field in fields:
            column = self._columns.setdefault(field, Column())
            if column.numbers.count < rows:
                behind.setdefault(column.numbers.count, []).append((field, column))
        for first, columns in behind.items():
            _extend(columns, database, first=first, rows=rows)


def _extend(
    columns: list[tuple[str, Column]], database: sqlite3.Connection, *, first: int, rows: int
) -> None:
    numbers = np.zeros((len(columns), rows - first), np.uint32)
    found = database.execute(
        "SELECT row, payload FROM items WHERE row >= ? AND row < ?", (first, rows)
    )
    decode = json.loads
    while batch := found.fetchmany(BATCH):
        for row, text in batch:
            payload = decode(text)
            for place, (field, column) in enumerate(columns):
                value = payload.get(field)
                if value is not None:
                    numbers[place, row - first] = column.place(value)
    # Only whole readings count: an interrupted one must not leave columns of two lengths.
    for place, (_, column) in enumerate(columns):
        column.numbers.extend(numbers[place])


def _fields(filter: Filter) -> set[str]:  # noqa: A002
    match filter:
        case And(parts) | Or(parts):
            return set().union(*map(_fields, parts))
        case Not(part):
            return _fields(part)
        case _:
            return {filter.field}
