"""The items of one part of a data set, and the lists that say which item belongs to which part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.datasets.arrays.tables import ImageArray, item_axis, labels_of, read_table
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from proxyhash.datasets.arrays.variable import Part, Variable

__all__ = ["Items", "Parted", "part_items", "read_items", "same_items"]


@dataclass(frozen=True)
class Items:
    """Items, aligned in all that is known of them.

    Attributes:
        labels: the numbers of each item's classes.
        columns: how many columns the labels had; 1 means class numbers.
        features: float32 (n, d) by modality.
        texts: sentences of each item, None where the files have none.
        names: an image's file of each item, None where the files have none.
        images: None where they are not in an array.
        splits: the part of each item, None where the files say nothing.
    """

    labels: list[tuple[int, ...]]
    columns: int
    features: Mapping[str, NDArray[np.float32]]
    texts: list[list[str]] | None
    names: list[str] | None
    images: ImageArray | None
    splits: list[str | None]

    def __len__(self) -> int:
        return len(self.labels)

    def keep(self, kept: NDArray[np.bool_]) -> Items:
        """Return the items that `kept`, bool (n), is true for, without their splits."""
        positions = np.flatnonzero(kept).tolist()
        return replace(
            self,
            labels=[self.labels[each] for each in positions],
            features={name: values[kept] for name, values in self.features.items()},
            texts=self.texts and [self.texts[each] for each in positions],
            names=self.names and [self.names[each] for each in positions],
            images=self.images and self.images.keep(kept),
            splits=[None] * len(positions),
        )


def read_items(part: str, slots: Mapping[str, Variable]) -> Items:
    """Return the items of one part.

    Args:
        part: what becomes their split, `all` for none.
        slots: variables by what they are: `labels`, and any of `image` and `text` (features),
            `images`, `captions` and `names` (strings).

    Raises:
        DataError: the variables do not fit together, or hold what they should not.
    """
    texts = slots["captions"].sentences() if "captions" in slots else None
    names = slots["names"].sentences() if "names" in slots else None
    tables = {slot: slots[slot] for slot in ("image", "text") if slot in slots}
    lengths = [len(each) for each in (texts, names) if each is not None]
    source = slots["labels"]
    items, axis = item_axis(source, list(tables.values()), lengths)
    if not items:
        raise DataError(f"{source.path}: {source} is empty; one row per item is expected")
    features = {
        modality: read_table(each, axis=axis, items=items) for modality, each in tables.items()
    }
    labels = read_table(source, axis=axis, items=items)
    return Items(
        labels=labels_of(f"{source.path}: {source.name}", labels),
        columns=labels.shape[1],
        features=features,
        texts=texts,
        names=None if names is None else [each[0] if each else "" for each in names],
        images=ImageArray.of(slots["images"], items=items) if "images" in slots else None,
        splits=[None if part == "all" else part] * items,
    )


def same_items(part: Items, database: Items) -> list[int] | None:
    """Return where in the database each item of a part is, None unless all of them are in it.

    Many files have the training items twice, for the database holds them too. Items are the same
    where all that is known of them is; each is found once.
    """
    places: dict[bytes, list[int]] = {}
    for position, key in reversed(list(enumerate(_keys(database)))):
        places.setdefault(key, []).append(position)
    try:
        return [places.get(key, []).pop() for key in _keys(part)]
    except IndexError:  # it is not there, or not as often
        return None


def _keys(items: Items) -> list[bytes]:
    hashes = [sha256(repr(labels).encode()) for labels in items.labels]
    for _, values in sorted(items.features.items()):
        for hash_, row in zip(hashes, values, strict=True):
            hash_.update(row.tobytes())
    for strings in (items.texts, items.names):
        for hash_, text in zip(hashes, strings or (), strict=False):
            hash_.update(repr(text).encode())
    for hash_, image in zip(hashes, items.images or (), strict=False):
        hash_.update(image.tobytes())
    return [hash_.digest() for hash_ in hashes]


_ORDER: tuple[Part, ...] = ("database", "train", "validation", "query")  # the later one is kept


@dataclass(frozen=True)
class Parted:
    """The items that a protocol uses, and their parts.

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
    do. Training items are mostly database items as well, and are called train. Where there is a
    database list, items that are in no list are left out: they are not part of that protocol.

    Raises:
        DataError: a number is out of range, is listed twice, or queries are training items too.
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
