"""Columns of payload fields, which tell the rows that meet a filter without reading payloads.

The first filter on a field reads the payloads once and notes a number for every row: the place of
its value among the different values of the field. A condition is then asked of those only.
"""

from __future__ import annotations

import json
import sqlite3
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.index.filters import And, Contains, Equals, Not, Or, Range, matches
from proxyhash.index.store.field_table import FieldTable
from proxyhash.index.store.row_table import Growing
from proxyhash.stopping import check_stop

if TYPE_CHECKING:
    import numpy.typing as npt

    from proxyhash.index.fields import Fields
    from proxyhash.index.filters import Filter

    Mask = npt.NDArray[np.bool_]

__all__ = ["Columns"]

BATCH = 50_000
_NO_SCALAR = object()


class Values:
    """Different values, numbered as they come.

    Args:
        first: values to begin with.
    """

    def __init__(self, first: list[object]) -> None:
        self._values: list[object] = []
        self._numbers: dict[object, int] = {}
        # Each value as a float; NaN where it is not a number.
        self._floats = Growing(np.empty(0, np.float64))
        for value in first:
            self.number(value)

    def number(self, value: object) -> int:
        """Return the number of a value, a new one where it is new."""
        # 1, 1.0 and true are equal as keys of a dict, but not as values of a field.
        number = self._numbers.setdefault((type(value), value), len(self._values))
        if number == len(self._values):
            self._values.append(value)
        return number

    @property
    def values(self) -> list[object]:
        """The values, by their numbers."""
        return self._values

    def meet(self, condition: Equals | Range) -> npt.NDArray[np.bool_]:
        """Return which values meet a condition, bool (number of values,)."""
        if isinstance(condition, Equals):
            return self._ask(self._equal(condition.value), condition)
        bounds = condition.gt, condition.ge, condition.lt, condition.le
        given = [bound for bound in bounds if bound is not None]
        if any(isinstance(bound, str) for bound in given):
            return self._ask(range(len(self._values)), condition)
        # Rounding to float never turns an order around, so only numbers that round to a bound
        # have to be asked exactly.
        floats = self._as_floats()
        lower = [float(bound) for bound in bounds[:2] if bound is not None]
        upper = [float(bound) for bound in bounds[2:] if bound is not None]
        within = ~np.isnan(floats)
        for bound in lower:
            within &= floats > bound
        for bound in upper:
            within &= floats < bound
        doubtful = np.flatnonzero(np.isin(floats, [*lower, *upper]))
        return within | self._ask(doubtful.tolist(), condition)

    def _ask(self, numbers: range | list[int], condition: Equals | Range) -> npt.NDArray[np.bool_]:
        result = np.zeros(len(self._values), np.bool_)
        for number in numbers:
            result[number] = matches(condition, {condition.field: self._values[number]})
        return result

    def _equal(self, value: object) -> list[int]:
        """Return the numbers of values that compare as equal, whatever their type."""
        types = (type(value), bool, int, float)
        found = {self._numbers.get((kind, value)) for kind in types}
        return [number for number in found if number is not None]

    def _as_floats(self) -> npt.NDArray[np.float64]:
        new = self._values[self._floats.count :]
        self._floats.extend(
            np.array(
                [
                    float(one)
                    if isinstance(one, int | float) and not isinstance(one, bool)
                    else np.nan
                    for one in new
                ],
                np.float64,
            )
        )
        floats: npt.NDArray[np.float64] = self._floats.values
        return floats


class Column:
    """One field of all payloads."""

    def __init__(self) -> None:
        # By row: the place of the value's JSON among the different ones. 0 is for null.
        self._rows = Growing(np.empty(0, np.uint32))
        self._places: dict[str | None, int] = {None: 0}
        # By place: the number of the value among the scalars. Value 1 is for lists and objects.
        self._scalars = Growing(np.zeros(1, np.uint32))
        self._values = Values([None, _NO_SCALAR])
        # Pairs: the place of a list, and the number of a scalar in it.
        self._pairs = Growing(np.empty(0, np.int64))
        self._members = Values([])

    @property
    def count(self) -> int:
        """Number of rows that the column covers."""
        return self._rows.count

    def extend(self, found: list[tuple[int, str | None]], *, rows: int) -> None:
        """Add the JSON of values by row; the column then covers `rows` rows."""
        places = self._places
        known, covered = len(places), self.count
        numbers = np.zeros(rows - covered, np.uint32)
        if found:
            taken = [places.setdefault(text, len(places)) for _, text in found]
            numbers[np.array([row for row, _ in found]) - covered] = taken
        new = [json.loads(text) for text in islice(places, known, None) if text is not None]
        pairs = [
            (known + place, self._members.number(member))
            for place, value in enumerate(new)
            if isinstance(value, list)
            for member in value
            if not isinstance(member, list | dict)
        ]
        scalars = [1 if isinstance(one, list | dict) else self._values.number(one) for one in new]
        self._scalars.extend(np.array(scalars, np.uint32))
        self._pairs.extend(np.array(pairs, np.int64).reshape(-1))
        self._rows.extend(numbers)

    def meets(self, condition: Equals | Contains | Range) -> Mask:
        """Return which rows meet a condition on this field, bool (count,)."""
        if isinstance(condition, Contains):
            same = self._members.meet(Equals(condition.field, condition.value))
            lists, members = self._pairs.values.reshape(-1, 2).T
            places = np.zeros(self._scalars.count, np.bool_)
            places[lists[same[members]]] = True
        else:
            places = self._values.meet(condition)[self._scalars.values]
        mask: Mask = places[self._rows.values]
        return mask

    def count_values(self, alive: Mask) -> list[tuple[object, int]]:
        """Return the members of lists, each with how many of the rows have it.

        Args:
            alive: which rows count, bool (count,).
        """
        lists, members = np.unique(self._pairs.values.reshape(-1, 2), axis=0).T
        with_list = np.bincount(self._rows.values[alive], minlength=self._scalars.count)
        counts = np.zeros(len(self._members.values), np.int64)
        np.add.at(counts, members, with_list[lists])
        return list(zip(self._members.values, counts.tolist(), strict=True))


class Columns:
    """The fields that filters asked for so far.

    Memory: 4 bytes per row and field, and the different values.
    """

    def __init__(self) -> None:
        self._columns: dict[str, Column] = {}
        self._table = FieldTable()

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

    def count_values(
        self, field: str, database: sqlite3.Connection, *, alive: Mask
    ) -> list[tuple[object, int]] | None:
        """Return the members of the lists in a field, each with how many rows have it.

        Reads `BATCH` rows a call at most, and returns None until all are read.

        Args:
            field: of the payloads.
            database: within a transaction that sees these rows.
            alive: which rows count, bool (rows,).
        """
        column = self._columns.setdefault(field, Column())
        if column.count < len(alive):
            stop = min(len(alive), column.count + BATCH)
            self._read([field], database, first=column.count, rows=stop)
        return None if column.count < len(alive) else column.count_values(alive)

    def fields(self, database: sqlite3.Connection, *, alive: Mask, change: object) -> Fields | None:
        """Return the fields of the rows that are alive; None until all rows are read."""
        table = self._table
        if table.count < len(alive):
            stop = min(len(alive), table.count + BATCH)
            found = database.execute(
                f"SELECT row, {table.select[0]} FROM items WHERE row >= ? AND row < ? ORDER BY row",  # noqa: S608
                (table.count, stop),
            )
            table.extend(found.fetchall(), rows=stop)
        return None if table.count < len(alive) else table.fields(alive, change)

    def _mask(self, filter: Filter, rows: int) -> Mask:  # noqa: A002
        check_stop()
        match filter:
            case And(parts):
                mask = np.ones(rows, np.bool_)
                for part in parts:
                    mask &= self._mask(part, rows)
                return mask
            case Or(parts):
                mask = np.zeros(rows, np.bool_)
                for part in parts:
                    mask |= self._mask(part, rows)
                return mask
            case Not(part):
                return ~self._mask(part, rows)
            case _:
                return self._columns[filter.field].meets(filter)

    def _read(
        self, fields: list[str], database: sqlite3.Connection, *, first: int, rows: int
    ) -> None:
        """Read fields that have got equally far, together."""
        extracted = [_extracted(field) for field in fields]
        columns = [text for text, _ in extracted]
        found = database.execute(
            f"SELECT row, {', '.join(columns)} FROM items WHERE row >= ? AND row < ? ORDER BY row",  # noqa: S608
            (*(parameter for _, given in extracted for parameter in given), first, rows),
        )
        # Fewer rows at once for many fields, so that a search is soon told to stop.
        while batch := found.fetchmany(max(1000, BATCH // len(fields))):
            check_stop()
            for place, field in enumerate(fields):
                texts = [(one[0], one[place + 1]) for one in batch]
                if not extracted[place][1]:
                    texts = [(row, _dig(payload, field)) for row, payload in texts]
                self._columns[field].extend(texts, rows=batch[-1][0] + 1)
        for field in fields:
            self._columns[field].extend([], rows=rows)


def _extracted(field: str) -> tuple[str, tuple[str, ...]]:
    """Return what to select for the JSON of a field, and its parameters.

    SQLite finds a field four times as fast as decoding the payload here takes. Its paths cannot
    name every field, though; without a parameter, the whole payload is selected.
    """
    plain = field.isprintable() and not set(field) & {'"', "\\"}
    if plain and sqlite3.sqlite_version_info >= (3, 38):
        return "payload -> ?", (f'$."{field}"',)
    return "payload", ()


def _dig(payload: str, field: str) -> str | None:
    value = json.loads(payload).get(field)
    return None if value is None else json.dumps(value)


def _fields(filter: Filter) -> set[str]:  # noqa: A002
    match filter:
        case And(parts) | Or(parts):
            return set().union(*map(_fields, parts))
        case Not(part):
            return _fields(part)
        case _:
            return {filter.field}
