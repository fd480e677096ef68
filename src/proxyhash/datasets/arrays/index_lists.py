"""Lists that number the items of each part: from 0 or from 1, as they turn out to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from proxyhash.datasets.arrays.naming import Part

__all__ = ["Parted", "part_items"]

_ORDER: tuple[Part, ...] = ("database", "train", "validation", "query")  # the later one is kept


@dataclass(frozen=True)
class Parted:
    """Which items a protocol uses, and as what.

    Attributes:
        kept: bool (n), false for items that are in no list.
        splits: the part of each kept item, None where it is gallery for want of a list.
        note: what had to be decided, in words.
    """

    kept: NDArray[np.bool_]
    splits: list[str | None]
    note: str


def part_items(where: str, lists: Mapping[Part, NDArray[np.int64]], items: int) -> Parted:
    """Return the parts that index lists name.

    Lists count from 0 where a 0 is in one of them, else from 1, as the loaders of the literature
    do. Train items are mostly database items as well, and are called train. Where there is a
    database list, items that are in no list are left out: they are not part of that protocol.

    Raises:
        DataError: a number is out of range, is listed twice, or queries are train items too.
    """
    every = np.concatenate([np.zeros(0, np.int64), *lists.values()])
    base = 0 if every.size and every.min() == 0 else 1
    if every.size and not base <= every.min() <= every.max() < items + base:
        raise DataError(
            f"{where}: index lists hold {every.min()} to {every.max()}; for {items:,} items, "
            f"0 to {items - 1} or 1 to {items} are expected"
        )
    members = {part: np.zeros(items, dtype=np.bool_) for part in _ORDER}
    for part, numbers in lists.items():
        members[part][numbers - base] = True
        if int(members[part].sum()) < len(numbers):
            raise DataError(f"{where}: the {part} list has a number twice; each is expected once")
    shared = int((members["query"] & (members["train"] | members["validation"])).sum())
    if shared:
        raise DataError(
            f"{where}: {shared:,} items are query and train at once; were lists of different "
            "protocols mixed?"
        )
    whole = "database" not in lists
    splits = np.full(items, None, dtype=object)
    for part in _ORDER:
        splits[members[part]] = part
    kept = np.logical_or.reduce(list(members.values())) | whole
    notes = [f"index lists count from {base}"]
    if both := int((members["query"] & members["database"]).sum()):
        notes.append(f"{both:,} queries are in the database list too and count as queries alone")
    if left := int((~kept).sum()):
        notes.append(f"{left:,} items in no list left out")
    return Parted(kept, splits[kept].tolist(), ", ".join(notes))
