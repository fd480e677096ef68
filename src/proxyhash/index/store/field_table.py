"""The shape of every row's payload, which tells the fields of an index without reading payloads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.index.fields import MAX_FIELDS, Fields, Shape, gather_fields
from proxyhash.index.store.row_table import Growing

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["FieldTable"]

_MAX_SHAPES = 20_000
_TYPES = {
    "text": "string",
    "integer": "number",
    "real": "number",
    "true": "boolean",
    "false": "boolean",
    "array": "list",
}


class FieldTable:
    """A number for every row: the place of its payload's shape among the different ones.

    Memory: 4 bytes per row, and the different shapes, of which and of whose names there is a bound.
    """

    select = (
        "(SELECT group_concat(json_quote(key) || ',' || json_quote(type)) FROM json_each(payload))",
        (),
    )
    """SQL for the shape of a payload, and its parameters."""

    def __init__(self) -> None:
        self._rows = Growing(np.empty(0, np.uint32))
        self._places: dict[str | None, int] = {None: 0}
        self._shapes: list[Shape] = [()]
        self._names: set[str] = set()
        self._complete = True
        self._latest: tuple[object, Fields] | None = None

    @property
    def count(self) -> int:
        """Number of rows that the table covers."""
        return self._rows.count

    @property
    def bytes(self) -> int:
        """Roughly how much memory it takes."""
        return 4 * self.count + 500 * len(self._shapes)

    def extend(self, found: list[tuple[int, str | None]], *, rows: int) -> None:
        """Add the shapes of payloads by row; the table then covers `rows` rows."""
        covered = self.count
        numbers = np.zeros(rows - covered, np.uint32)
        if found:
            taken = [self._places.get(text) or self._place(text) for _, text in found]
            numbers[np.array([row for row, _ in found]) - covered] = taken
        self._rows.extend(numbers)

    def may_have(self, name: str) -> bool:
        """Whether a row that is covered may have a field."""
        return name in self._names or not self._complete

    def fields(self, alive: npt.NDArray[np.bool_], change: object) -> Fields:
        """Return the fields of the rows that are alive, bool (count,).

        Args:
            alive: which rows count.
            change: is equal as long as these are the same.
        """
        if self._latest is None or self._latest[0] != change:
            counts = np.bincount(self._rows.values[alive], minlength=len(self._shapes)).tolist()
            shapes = zip(self._shapes, counts, strict=True)
            self._latest = change, gather_fields(shapes, complete=self._complete)
        return self._latest[1]

    def _place(self, text: str | None) -> int:
        """Return the number of a shape that is new, 0 where there are too many."""
        if text is None:
            return 0
        parts: list[str] = json.loads(f"[{text}]")
        shape = dict(zip(parts[::2], parts[1::2], strict=True))
        names = self._names.union(shape)
        if len(self._shapes) >= _MAX_SHAPES or len(names) > 2 * MAX_FIELDS:
            self._complete = False
            return 0
        self._names = names
        self._places[text] = len(self._shapes)
        self._shapes.append(tuple((name, _TYPES.get(kind, kind)) for name, kind in shape.items()))
        return self._places[text]
