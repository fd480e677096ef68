"""The items of one part of a data set, as its arrays or lists have them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.datasets.arrays.images import ImageArray
from proxyhash.datasets.arrays.label_matrix import labels_of
from proxyhash.datasets.arrays.tables import item_axis, read_table
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from proxyhash.datasets.arrays.variable import Variable

__all__ = ["Items", "read_items", "same_items"]


@dataclass(frozen=True)
class Items:
    """Items, aligned in all that is known of them.

    Attributes:
        labels: the numbers of each item's classes.
        columns: how many columns the labels had; 1 means category numbers.
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
        raise DataError(f"{source.path}: {source} is empty; one row an item is expected")
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

    Many files have the train items twice, for the database holds them too. Items are the same where
    all that is known of them is; each is found once.
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
