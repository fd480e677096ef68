"""Found classes: their names, what they were made of, and a probability per item."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.data.labels import LIKELY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["LEAST", "FoundClass", "FoundClasses", "unique_names"]

LEAST = 0.05
"""Probability below which a class is left out of an item: it is taken for certain to be absent."""


@dataclass(frozen=True)
class FoundClass:
    """One class.

    Attributes:
        name: of the class.
        words: the words that it stands for, with the number of items whose text has each.
        merged: names of the classes that edits merged into it.
    """

    name: str
    words: tuple[tuple[str, int], ...] = ()
    merged: tuple[str, ...] = ()


@dataclass(frozen=True)
class FoundClasses:
    """Classes of a collection.

    Attributes:
        way: "texts", "images" or "names".
        classes: C of them.
        probabilities: float32 (n, C) in [0, 1], a row per item.
        notes: sentences about what was found.
    """

    way: str
    classes: tuple[FoundClass, ...]
    probabilities: NDArray[np.float32]
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(each.name for each in self.classes)

    @property
    def labels(self) -> NDArray[np.bool_]:
        """Membership of the items in each class, bool (n, C)."""
        return self.probabilities >= LIKELY

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of items of each class, (C,)."""
        return np.asarray(self.labels.sum(axis=0), np.int64)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Mean probability over the items of each class, (C,); 0 where it has none."""
        held = self.labels
        total = np.where(held, self.probabilities, 0).sum(axis=0, dtype=np.float64)
        return np.asarray(total / np.maximum(held.sum(axis=0), 1))

    def of_item(self, row: int) -> dict[str, float]:
        """Return the classes of an item as a manifest has them, the likeliest first."""
        values = self.probabilities[row]
        columns = np.flatnonzero(values >= LEAST)
        order = columns[np.argsort(-values[columns], kind="stable")]
        return {self.classes[each].name: round(float(values[each]), 3) for each in order}

    def take(self, columns: Sequence[int]) -> FoundClasses:
        """Return the classes of these columns, in this order."""
        chosen = tuple(self.classes[column] for column in columns)
        return replace(
            self, classes=chosen, probabilities=self.probabilities[:, np.asarray(columns, int)]
        )

    def by_size(self) -> FoundClasses:
        """Return the classes with the most items first; those without any are left out."""
        counts = self.counts
        order = np.argsort(-counts, kind="stable")
        return self.take([int(column) for column in order if counts[column]])


def unique_names(names: Sequence[str]) -> list[str]:
    """Return the names, a repeated one with a number behind it."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return result
