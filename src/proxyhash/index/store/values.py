"""The different values of a field, and which of them meet a condition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxyhash.index.filters import Equals, Range, matches
from proxyhash.index.store.rows import Growing

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Values"]


class Values:
    """Different values, numbered as they come.

    Args:
        first: values to begin with.
    """

    def __init__(self, first: list[object]) -> None:
        self._values: list[object] = []
        self._numbers: dict[object, int] = {}
        # Each value as a float; NaN where it is no number.
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
