"""A column of one payload field, which tells the rows that meet a condition without payloads.

It has a number for every row: the place of its value among the different values of the field. A
condition is then asked of those only.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.index.filters import Contains, Equals, Range, matches
from proxyhash.index.store.row_table import Growing

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]

__all__ = ["STEP", "Column", "asks_strings"]

STEP = 10_000
"""Rows that are read, and strings that are sorted, while others wait."""

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
        # Strings in runs that are sorted, each with the numbers of its strings; and up to which
        # number they go.
        self._runs: list[tuple[list[str], npt.NDArray[np.int64]]] = []
        self._sorted = 0
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
            return self._between(condition, given)
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

    @property
    def unsorted(self) -> int:
        """Number of values to be sorted before strings are asked for their order."""
        return len(self._values) - self._sorted

    def next_run(self) -> tuple[int, int, list[str], npt.NDArray[np.int64]]:
        """Return the next run of strings: from and up to which number it goes, and its content."""
        start = self._sorted
        stop = min(len(self._values), start + STEP)
        strings = [
            (value, number)
            for number, value in enumerate(islice(self._values, start, stop), start)
            if isinstance(value, str)
        ]
        strings.sort()
        numbers = np.array([number for _, number in strings], np.int64)
        return start, stop, [value for value, _ in strings], numbers

    def take_run(self, run: tuple[int, int, list[str], npt.NDArray[np.int64]]) -> None:
        """Keep a run, unless another thread was faster."""
        start, stop, strings, numbers = run
        if start == self._sorted:
            self._runs.append((strings, numbers))
            self._sorted = stop

    def _between(self, condition: Range, given: list[str | int | float]) -> npt.NDArray[np.bool_]:
        """Return which values are strings within bounds."""
        result = np.zeros(len(self._values), np.bool_)
        if not all(isinstance(bound, str) for bound in given):
            return result  # no value is comparable with both
        while self.unsorted:
            self.take_run(self.next_run())
        for strings, numbers in self._runs:
            first, last = 0, len(strings)
            if condition.gt is not None:
                first = max(first, bisect_right(strings, str(condition.gt)))
            if condition.ge is not None:
                first = max(first, bisect_left(strings, str(condition.ge)))
            if condition.lt is not None:
                last = min(last, bisect_left(strings, str(condition.lt)))
            if condition.le is not None:
                last = min(last, bisect_right(strings, str(condition.le)))
            result[numbers[first:last]] = True
        return result

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
        self._text_bytes = 0

    @property
    def bytes(self) -> int:
        """Roughly how much memory the column takes."""
        numbers = 4 * (self.count + self._scalars.count) + 8 * self._pairs.count
        return numbers + self._text_bytes

    @property
    def values(self) -> Values:
        """The different scalars of the field."""
        return self._values

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
        texts = [text for text in islice(places, known, None) if text is not None]
        new = [json.loads(text) for text in texts]
        self._text_bytes += sum(map(len, texts)) * 2 + 450 * len(texts)
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

    def meets(self, condition: Equals | Contains | Range, *, start: int = 0) -> Mask:
        """Return which rows from `start` on meet a condition on this field, bool."""
        if isinstance(condition, Contains):
            same = self._members.meet(Equals(condition.field, condition.value))
            lists, members = self._pairs.values.reshape(-1, 2).T
            places = np.zeros(self._scalars.count, np.bool_)
            places[lists[same[members]]] = True
        else:
            places = self._values.meet(condition)[self._scalars.values]
        mask: Mask = places[self._rows.values[start:]]
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


def asks_strings(condition: Equals | Contains | Range) -> bool:
    """Whether a condition is about the order of strings."""
    return isinstance(condition, Range) and any(
        isinstance(bound, str) for bound in (condition.gt, condition.ge, condition.lt, condition.le)
    )
