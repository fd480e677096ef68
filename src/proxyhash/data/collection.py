"""The items of one manifest, with what the other rooms ask of them in columns."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from proxyhash.data.item import Item

__all__ = ["Collection", "hash_strings"]


@dataclass(frozen=True)
class Collection:
    """The items of one manifest in its order; every column below is aligned with them.

    Attributes:
        path: the manifest file.
        items: at least one, their ids distinct.
        classes: every label of every item once, sorted; the columns of `labels`.
    """

    path: Path
    items: tuple[Item, ...]
    classes: tuple[str, ...]

    @classmethod
    def of(cls, path: Path, items: Iterable[Item]) -> Collection:
        """Return the collection of `items`, whose classes are the labels they carry."""
        items = tuple(items)
        return cls(path, items, tuple(sorted({name for item in items for name in item.labels})))

    def __len__(self) -> int:
        return len(self.items)

    @property
    def root(self) -> Path:
        """The folder that image paths start from."""
        return self.path.parent

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Each item's id."""
        return tuple(item.id for item in self.items)

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """Each id's place among the items."""
        return {id_: position for position, id_ in enumerate(self.ids)}

    @cached_property
    def texts(self) -> list[str | None]:
        """Each item's text, or None."""
        return [item.text for item in self.items]

    @cached_property
    def image_paths(self) -> list[Path | None]:
        """Each item's image, or None; that the file exists is for `data check` to find out."""
        return [None if item.image is None else self.root / item.image for item in self.items]

    @cached_property
    def has_image(self) -> NDArray[np.bool_]:
        """Which items name an image, shape (n,)."""
        return _frozen(np.array([item.image is not None for item in self.items], dtype=np.bool_))

    @cached_property
    def has_text(self) -> NDArray[np.bool_]:
        """Which items have a text, shape (n,)."""
        return _frozen(np.array([item.text is not None for item in self.items], dtype=np.bool_))

    @cached_property
    def labels(self) -> NDArray[np.bool_]:
        """Which item has which label, shape (n, C), columns as in `classes`; read-only."""
        columns = {name: column for column, name in enumerate(self.classes)}
        labels = np.zeros((len(self.items), len(self.classes)), dtype=np.bool_)
        for row, item in enumerate(self.items):
            labels[row, [columns[name] for name in item.labels]] = True
        return _frozen(labels)

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 over the ids, image paths, texts and labels, in order; not over images."""
        return hash_strings(
            json.dumps([item.id, item.image, item.text, sorted(item.labels)]) for item in self.items
        )


def hash_strings(strings: Iterable[str]) -> str:
    """Return the hex SHA-256 of a sequence of strings; it depends on where each one ends."""
    digest = hashlib.sha256()
    for string in strings:
        encoded = string.encode("utf-8")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()


def _frozen(array: NDArray[np.bool_]) -> NDArray[np.bool_]:
    array.setflags(write=False)
    return array
