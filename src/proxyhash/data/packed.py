"""Items of a large collection, compressed in blocks, with the columns that everything asks for.

An `Item` takes some 900 bytes of memory with its strings and dictionaries, and ten million of them
9 GB. Here an item takes its id, four bytes per label, and what is left after compression of the
rest, together 100 to 200 bytes. One is made whenever it is asked for, in some 10 microseconds.
"""

from __future__ import annotations

import json
import zlib
from array import array
from collections.abc import Sequence
from itertools import chain, islice
from operator import eq
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np

from proxyhash.data.item import Item

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from proxyhash.data.modalities import Modality

__all__ = ["PACK_ABOVE", "PackedItems", "as_items"]

PACK_ABOVE = 50_000
"""Number of items up to which they are kept as they are."""

_BLOCK = 128  # items compressed together
_LEVEL = 1
_encode = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps makes one at each call


def as_items(items: Iterable[Item]) -> Sequence[Item]:
    """Return items as a tuple, or packed where there are more than `PACK_ABOVE`."""
    if isinstance(items, tuple | PackedItems):
        return items
    rest = iter(items)
    first = tuple(islice(rest, PACK_ABOVE + 1))
    return first if len(first) <= PACK_ABOVE else PackedItems(chain(first, rest))


class PackedItems(Sequence[Item]):
    """A sequence of items that grows at its end; see the module.

    Args:
        items: the first ones.

    Attributes:
        ids: the items' ids.
        classes: every label, with its number in the order in which they came.
        estimated: number of items with probabilities.
        splits: whether any item has a split.
        plain: whether all paths are of ASCII letters and slashes.
    """

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self.ids: list[str] = []
        self.classes: dict[str, int] = {}
        self._names: list[str] = []
        self.estimated = 0
        self.splits = False
        self.plain = True
        self._labels, self._ends = array("I"), array("Q", [0])
        self._present: dict[Modality, bytearray] = {}
        self._blocks: list[bytes] = []
        self._growing: list[str] = []
        self._changed: dict[int, Item] = {}
        self._last: tuple[int, list[str]] = (-1, [])
        for item in items:
            self.append(item)

    def append(self, item: Item) -> None:
        """Add an item at the end."""
        place = len(self.ids)
        for name, source in item.sources.items():
            column = self._present.setdefault(name, bytearray())
            column.extend(bytes(place - len(column)) + b"\1")
            self.plain = self.plain and source.isascii() and "\\" not in source
        for name in item.labels:
            self._labels.append(self._number(name))
        self._ends.append(len(self._labels))
        self.estimated += bool(item.probabilities)
        self.splits = self.splits or item.split is not None
        rest = [
            dict(item.sources),
            item.row,
            item.split,
            dict(item.payload),
            dict(item.probabilities),
        ]
        while len(rest) > 2 and not rest[-1]:
            rest.pop()
        self.ids.append(item.id)
        self._growing.append(_encode(rest))
        if len(self._growing) == _BLOCK:
            self._blocks.append(zlib.compress("\n".join(self._growing).encode(), _LEVEL))
            self._growing = []

    def __setitem__(self, place: int, item: Item) -> None:
        """Put another item of the same id in place of one."""
        self.estimated += bool(item.probabilities) - bool(self[place].probabilities)
        self._changed[place] = item
        for name in item.labels:
            self._number(name)
        for name in item.sources:
            column = self._present.setdefault(name, bytearray())
            column.extend(bytes(max(0, place + 1 - len(column))))
            column[place] = 1

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Item]: ...
    def __getitem__(self, place: int | slice) -> Item | Sequence[Item]:
        """Return an item, or those of a slice as a tuple."""
        if isinstance(place, slice):
            return tuple(self[each] for each in range(*place.indices(len(self))))
        if not -len(self) <= place < len(self):
            raise IndexError(f"item {place} of {len(self)}")
        return self._item(int(place) % len(self))

    def __iter__(self) -> Iterator[Item]:
        return map(self._item, range(len(self)))

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, Sequence) and len(self) == len(other)
        return bool(same) and all(map(eq, self, cast("Sequence[Item]", other)))

    def __hash__(self) -> int:
        return hash((len(self), self.ids[0] if self.ids else None))

    def sources(self, place: int) -> dict[Modality, str]:
        """Return what an item has of each modality."""
        found: dict[Modality, str] = self._rest(place)[0]
        return found

    def has(self, modality: Modality) -> NDArray[np.bool_]:
        """Return which items have a modality, bool (n,)."""
        found = np.zeros(len(self), np.bool_)
        column = self._present.get(modality, bytearray())
        found[: len(column)] = np.frombuffer(column, np.bool_)
        return found

    @property
    def modalities(self) -> set[Modality]:
        """The modalities that any item has."""
        return set(self._present)

    def multi_hot(self, classes: Sequence[str]) -> NDArray[np.bool_]:
        """Return the labels, bool (n, C), in the order of `classes`, which has all of them."""
        numbers = {name: number for number, name in enumerate(classes)}
        order = np.array([numbers[name] for name in self.classes], dtype=np.intp)
        ends = np.frombuffer(self._ends, np.uint64).astype(np.intp)
        labels = np.zeros((len(self), len(classes)), np.bool_)
        rows = np.repeat(np.arange(len(self)), np.diff(ends))
        labels[rows, order[np.frombuffer(self._labels, np.uint32)]] = True
        for place, item in self._changed.items():
            labels[place] = False
            labels[place, [numbers[name] for name in item.labels]] = True
        return labels

    def _number(self, name: str) -> int:
        """Return the number of a class, a new one at its first time."""
        number = self.classes.setdefault(name, len(self._names))
        if number == len(self._names):
            self._names.append(name)
        return number

    def _item(self, place: int) -> Item:
        if place in self._changed:
            return self._changed[place]
        sources, row, *more = self._rest(place)
        split, payload, probabilities = (*more, None, None, None)[:3]
        start, end = self._ends[place], self._ends[place + 1]
        return Item(
            id=self.ids[place],
            sources=sources,
            labels=tuple(map(self._names.__getitem__, self._labels[start:end])),
            split=split,
            payload=payload or {},
            row=row,
            probabilities=probabilities or {},
        )

    def _rest(self, place: int) -> list[Any]:
        if place in self._changed:
            item = self._changed[place]
            return [dict(item.sources), item.row, item.split, item.payload, item.probabilities]
        number, inside = divmod(place, _BLOCK)
        if number == len(self._blocks):
            text = self._growing[inside]
        else:
            known, lines = self._last
            if known != number:
                lines = zlib.decompress(self._blocks[number]).decode().split("\n")
                self._last = (number, lines)  # at once, so that threads see both or neither
            text = lines[inside]
        found: list[Any] = json.loads(text)
        return found
