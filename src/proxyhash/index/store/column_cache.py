"""The columns of an index: read when a filter first asks for a field, and kept within a budget.

What is behind is told piece by piece, as `Work`, so that it can be done while others search: see
`column_reading`.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from proxyhash.index.filters import And, Not, Or, conditions_of, matches
from proxyhash.index.store import columns as steps
from proxyhash.index.store.columns import Column, asks_strings
from proxyhash.index.store.field_table import FieldTable
from proxyhash.stopping import check_stop

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    import numpy.typing as npt

    from proxyhash.index.fields import Fields
    from proxyhash.index.filters import Filter
    from proxyhash.index.store.columns import Values

    Mask = npt.NDArray[np.bool_]
    Found = list[tuple[int, str | None]]

__all__ = ["Columns", "Work"]

BUDGET = 256 << 20
"""Bytes of columns that are kept, or `_ROW_BYTES` per row where that is more."""

_ROW_BYTES = 32
_FEW = 4
"""As many fields are read without asking first whether they exist."""

_FEW_CONDITIONS = 4
"""A filter with more is asked step by step, and its result kept for a while."""

_KEPT = 8
_PART = 500
_Select = tuple[str, tuple[str, ...]]


class Work(Protocol):
    """A piece of work: `fetch` takes long, and is done while others search; `keep` does not."""

    @property
    def left(self) -> int:
        """Number of rows or values to be read; up to `STEP` are read at once."""
        ...

    def fetch(self, database: sqlite3.Connection) -> Any:
        """Return what the next step finds; within a transaction."""
        ...

    def keep(self, found: Any) -> None:
        """Keep what a step found, unless another thread was faster."""
        ...


class Columns:
    """The fields that filters asked for lately.

    Memory: 4 bytes per row and field, and the different values; above a budget, those that were
    not asked for longest are dropped, except for what filters need that are being answered.
    """

    def __init__(self) -> None:
        self._columns: dict[str, Column] = {}  # in the order of their last use
        self._table = FieldTable()
        self._wanted: Counter[str] = Counter()
        self._asked: dict[str, _Asked] = {}  # long filters, in the order of their first use

    def want(self, fields: Collection[str]) -> None:
        """Keep the columns of fields until `release`."""
        self._wanted.update(fields)

    def release(self, fields: Collection[str]) -> None:
        """Let the columns of fields go when there is no room."""
        self._wanted.subtract(fields)
        self._wanted += Counter()
        if not self._wanted:  # nobody goes on with what is not complete
            self._asked = {key: one for key, one in self._asked.items() if one.mask is not None}
        rows = max((column.count for column in self._columns.values()), default=0)
        budget = max(BUDGET, _ROW_BYTES * rows)
        taken = sum(column.bytes for column in self._columns.values())
        for name in [name for name in self._columns if name not in self._wanted]:
            if taken <= budget:
                return
            taken -= self._columns.pop(name).bytes

    def behind(self, conditions: Sequence[Any], *, rows: int) -> Work | None:
        """Return the next piece of work until `rows` rows can be asked, None when all is done."""
        fields = dict.fromkeys(condition.field for condition in conditions)
        new = [field for field in fields if field not in self._columns]
        if len(new) > _FEW and self._table.count < rows:
            return self.table_behind(rows)
        for field in new:
            if self._table.count < rows or self._table.may_have(field):
                self._columns[field] = Column()
        known = [field for field in fields if field in self._columns]
        for field in known:  # now the ones that were used last
            self._columns[field] = self._columns.pop(field)
        first = min((self._columns[field].count for field in known), default=rows)
        if first < rows:
            level = [field for field in known if self._columns[field].count == first]
            parts = [(self._columns[field], field, _extracted(field)) for field in level]
            return _Reading(parts, first, rows)
        for condition in conditions:
            column = self._columns.get(condition.field)
            if column is not None and asks_strings(condition) and column.values.unsorted:
                return _Sorting(column.values)
        return None

    def table_behind(self, rows: int) -> Work | None:
        """Return the next piece of work until the fields of `rows` rows are known."""
        table = self._table
        if table.count >= rows:
            return None
        return _Reading([(table, "", table.select)], table.count, rows)

    def unasked(self, filter: Filter, *, rows: int) -> Work | None:  # noqa: A002
        """Return the next condition of a long filter that rows are to be asked, None if none is.

        A row's payload never changes, so what is known about `rows` rows stays true of them.
        """
        if len(conditions_of(filter)) <= _FEW_CONDITIONS:
            return None
        asked = self._asked.get(key := repr(filter))
        if asked is None or rows - asked.rows > steps.STEP:
            done = [other for other, one in self._asked.items() if one.mask is not None]
            for other in done[: 1 - _KEPT]:
                del self._asked[other]
            asked = self._asked[key] = _Asked(partial(self._steps, filter, 0, rows), rows)
        return None if asked.mask is not None else asked

    def matching(self, filter: Filter, *, rows: int) -> Mask:  # noqa: A002
        """Return which of the first `rows` rows meet a filter, bool (rows,).

        Dead rows count as having the payload they had, or none. Nothing is `behind`, nor `unasked`.

        Args:
            filter: what is asked; it means what `filters.matches` says.
            rows: how many rows there are, never fewer than in an earlier call.
        """
        asked = self._asked.get(repr(filter)) if self._asked else None
        if asked is None or asked.mask is None or asked.rows > rows:
            return _last(self._steps(filter, 0, rows))
        if asked.rows == rows:
            return asked.mask
        return np.concatenate([asked.mask, _last(self._steps(filter, asked.rows, rows))])

    def _steps(
        self,
        filter: Filter,  # noqa: A002
        start: int,
        rows: int,
    ) -> Iterator[Mask | None]:
        """Yield None after each condition, and at the end which of the rows meet the filter."""
        join: Any = np.logical_and
        match filter:
            case And(parts) | Or(parts):
                join = np.logical_and if isinstance(filter, And) else np.logical_or
                mask = np.full(rows - start, isinstance(filter, And), np.bool_)
            case Not(part):
                parts, join = (part,), np.logical_xor
                mask = np.ones(rows - start, np.bool_)
            case _:
                parts = ()
                column = self._columns.get(filter.field)
                if column is None:  # no payload has the field
                    mask = np.full(rows - start, matches(filter, {}))
                else:
                    mask = column.meets(filter, start=start)[: rows - start]
                yield None
        for part in parts:
            for found in self._steps(part, start, rows):
                if found is None:
                    yield None
                else:
                    join(mask, found, out=mask)
        yield mask

    def count_values(self, field: str, *, alive: Mask) -> list[tuple[object, int]]:
        """Return the members of the lists in a field, each with how many rows have it.

        Args:
            field: of the payloads; nothing of it is `behind`.
            alive: which rows count, bool (rows,).
        """
        column = self._columns.get(field)
        return [] if column is None else column.count_values(alive)

    def fields(self, *, alive: Mask, change: object) -> Fields:
        """Return the fields of the rows that are alive; nothing of the table is behind."""
        return self._table.fields(alive, change)


@dataclass(frozen=True)
class _Reading:
    """Columns that have got equally far, read together.

    Attributes:
        parts: each with the name of its field and what is selected.
        first: how many rows they cover.
        rows: how many they are to cover.
    """

    parts: Sequence[tuple[Column | FieldTable, str, _Select]]
    first: int
    rows: int

    @property
    def left(self) -> int:
        return self.rows - self.first

    def fetch(self, database: sqlite3.Connection) -> tuple[int, list[Found]]:
        """Read by the hundred: each time SQLite is called, others have the interpreter."""
        stop = min(self.rows, self.first + steps.STEP)
        found: list[Found] = [[] for _ in self.parts]
        for start in range(self.first, stop, _PART):
            check_stop()
            more = self._part(database, start, min(stop, start + _PART))
            for texts, new in zip(found, more, strict=True):
                texts.extend(new)
        for texts, (_, field, (_, given)) in zip(found, self.parts, strict=True):
            if field and not given:
                texts[:] = [(row, _dig(payload, field)) for row, payload in texts]
        return stop, found

    def keep(self, found: tuple[int, list[Found]]) -> None:
        stop, texts = found
        for (part, *_), more in zip(self.parts, texts, strict=True):
            if part.count == self.first:
                part.extend(more, rows=stop)

    def _part(self, database: sqlite3.Connection, start: int, stop: int) -> Iterable[Found]:
        selects = [select for *_, select in self.parts]
        given = (*(one for _, parameters in selects for one in parameters), start, stop)
        where = "FROM items WHERE row >= ? AND row < ?"
        arrays = ", ".join(f"json_group_array({text} || '')" for text, _ in selects)
        try:
            rows, *columns = database.execute(
                f"SELECT json_group_array(row), {arrays} {where}",
                given,
            ).fetchone()
        except sqlite3.DataError:  # longer than a string can be
            plain = ", ".join(text for text, _ in selects)
            one_by_one = database.execute(f"SELECT row, {plain} {where} ORDER BY row", given)
            found = one_by_one.fetchall()
            return [[(row[0], row[place + 1]) for row in found] for place in range(len(self.parts))]
        numbers = json.loads(rows)
        return [list(zip(numbers, json.loads(column), strict=True)) for column in columns]


@dataclass(frozen=True)
class _Sorting:
    """Strings that are to be sorted before one can ask which lie within bounds."""

    values: Values

    @property
    def left(self) -> int:
        return self.values.unsorted

    def fetch(self, database: sqlite3.Connection) -> Any:
        del database
        check_stop()
        return self.values.next_run()

    def keep(self, found: Any) -> None:
        self.values.take_run(found)


@dataclass
class _Asked:
    """A long filter, asked of the first rows condition by condition, so that others have turns.

    Attributes:
        begin: makes steps.
        rows: how many are asked.
        mask: the result.
        steps: the rest of them; each yields None, the last the result.
    """

    begin: Callable[[], Iterator[Mask | None]]
    rows: int
    mask: Mask | None = None
    steps: Iterator[Mask | None] | None = None

    @property
    def left(self) -> int:
        return steps.STEP + 1

    def fetch(self, database: sqlite3.Connection) -> None:
        del database
        check_stop()

    def keep(self, found: None) -> None:
        del found
        for mask in self.steps or ():
            self.mask = mask
            return
        self.steps = self.begin()  # at first, and after an error


def _last(found: Iterator[Mask | None]) -> Mask:
    """Return the result of all steps."""
    mask: Mask | None = None
    for step in found:
        check_stop()
        mask = step
    assert mask is not None
    return mask


def _extracted(field: str) -> _Select:
    """Return what to select for the JSON of a field, and its parameters.

    SQLite finds a field four times as fast as decoding the payload here takes. Its paths cannot
    name every field, though; without a parameter, the whole payload is selected.
    """
    plain = field.isprintable() and not set(field) & {'"', "\\"}
    if plain and sqlite3.sqlite_version_info >= (3, 38):
        return "(payload -> ?)", (f'$."{field}"',)
    return "payload", ()


def _dig(payload: str | None, field: str) -> str | None:
    value = json.loads(payload or "{}").get(field)
    return None if value is None else json.dumps(value)
