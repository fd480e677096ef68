"""Collection: the items of a manifest, with columns over them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from proxyhash.data.contained import stamp_of
from proxyhash.data.modalities import MODALITIES, Modality
from proxyhash.data.packed import PackedItems, as_items

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from proxyhash.data.item import Item

__all__ = ["Collection", "hash_strings"]

_FIRST = {"image", "text"}


@dataclass(frozen=True)
class Collection:
    """The items of one manifest in its order; every column below is aligned with them.

    Attributes:
        path: the manifest file, or a folder of images.
        items: at least one, their ids distinct.
        classes: every label of every item once, sorted; the columns of `labels`. A class that no
            item has with a probability of at least 1/2 is not among them.
        skipped: how many rows of the manifest were left out because they are not valid items.
        recognized: a sentence about what was found out about the files, for a user to check; ""
            where nothing had to be.
    """

    path: Path
    items: Sequence[Item]
    classes: tuple[str, ...]
    skipped: int = field(default=0, compare=False)
    recognized: str = field(default="", compare=False)

    @classmethod
    def of(
        cls, path: Path, items: Iterable[Item], *, skipped: int = 0, recognized: str = ""
    ) -> Collection:
        """Return the collection of `items`, whose classes are the labels they carry."""
        items = as_items(items)
        if isinstance(items, PackedItems):
            classes = tuple(sorted(items.classes))
        else:
            classes = tuple(sorted({name for item in items for name in item.labels}))
        return cls(path, items, classes, skipped, recognized)

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def root(self) -> Path:
        """The folder that relative paths start from."""
        return self.path if self.path.is_dir() else self.path.parent

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Each item's id."""
        if isinstance(self.items, PackedItems):
            return tuple(self.items.ids)
        return tuple(item.id for item in self.items)

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """The position of each id among the items."""
        return {id_: position for position, id_ in enumerate(self.ids)}

    @cached_property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that any of the items has: image, text, then others."""
        if isinstance(self.items, PackedItems):
            found = self.items.modalities
        else:
            found = set().union(*(item.sources for item in self.items))
        return tuple(name for name in MODALITIES if name in found)

    def sources(self, modality: Modality) -> Sequence[Path | str | None]:
        """Return what each item has of a modality, or None; of packed items made when asked for.

        Files are paths below `root`, or absolute; whether they exist is not checked here.
        Everything else is as the manifest has it, such as a text.

        Raises:
            UsageError: "modality is 'sound'; it must be one of image, text".
        """
        if modality not in self._columns and isinstance(self.items, PackedItems):
            folder = self.root if MODALITIES[modality].is_file else None
            self._columns[modality] = _PackedSources(self.items, modality, folder)
        elif modality not in self._columns:
            found = [item.sources.get(modality) for item in self.items]
            self._columns[modality] = (
                [None if source is None else self.root / source for source in found]
                if MODALITIES[modality].is_file
                else list(found)
            )
        return self._columns[modality]

    def has(self, modality: Modality) -> NDArray[np.bool_]:
        """Return which items have a modality, bool (n,); read-only."""
        if modality not in self._present:
            if isinstance(self.items, PackedItems):
                has = self.items.has(modality)
            else:
                has = np.array([modality in item.sources for item in self.items], dtype=np.bool_)
            self._present[modality] = _frozen(has)
        return self._present[modality]

    @cached_property
    def labels(self) -> NDArray[np.bool_]:
        """The multi-hot labels of the items, shape (n, C), columns as in `classes`; read-only."""
        if isinstance(self.items, PackedItems):
            return _frozen(self.items.multi_hot(self.classes))
        columns = {name: column for column, name in enumerate(self.classes)}
        labels = np.zeros((len(self.items), len(self.classes)), dtype=np.bool_)
        for row, item in enumerate(self.items):
            labels[row, [columns[name] for name in item.labels]] = True
        return _frozen(labels)

    @cached_property
    def estimated(self) -> int:
        """Number of items whose labels are probabilities: found or estimated, not given."""
        if isinstance(self.items, PackedItems):
            return self.items.estimated
        return sum(bool(item.probabilities) for item in self.items)

    @cached_property
    def names_splits(self) -> bool:
        """Whether any item has a split of its own."""
        if isinstance(self.items, PackedItems):
            return self.items.splits
        return any(item.split is not None for item in self.items)

    @cached_property
    def targets(self) -> NDArray[np.bool_] | NDArray[np.float32]:
        """Labels to learn from: `labels`, or float32 probabilities (n, C) where any item has them.

        Of an item with labels that are certain, they are 0 and 1. Read-only.
        """
        if not self.estimated:
            return self.labels
        columns = {name: column for column, name in enumerate(self.classes)}
        targets = self.labels.astype(np.float32)
        for row, item in enumerate(self.items):
            for name, value in item.probabilities.items():
                if name in columns:
                    targets[row, columns[name]] = value
        targets.setflags(write=False)
        return targets

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 over ids, image paths, texts, labels and other sources, not over files."""
        return hash_strings(map(_content, self.items))

    def file_sizes(self, modality: Modality) -> str:
        """Return the hex SHA-256 of how many bytes the files of a modality have now.

        A file that is replaced under its path nearly always has others, and sizes cost no reading.
        """
        return hash_strings(str(_size(path)) for path in self.sources(modality))

    @cached_property
    def _columns(self) -> dict[Modality, Sequence[Path | str | None]]:
        return {}

    @cached_property
    def _present(self) -> dict[Modality, NDArray[np.bool_]]:
        return {}


class _PackedSources(Sequence["Path | str | None"]):
    """Sources of packed items of one modality, made when they are asked for."""

    def __init__(self, items: PackedItems, modality: Modality, folder: Path | None) -> None:
        self._items, self._modality, self._folder = items, modality, folder

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, place: int) -> Path | str | None: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Path | str | None]: ...
    def __getitem__(self, place: int | slice) -> Any:
        """Return the source of an item, or those of a slice."""
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(f"source {place} of {len(self)}")
        source = self._items.sources(int(place) % len(self)).get(self._modality)
        return source if source is None or self._folder is None else self._folder / source


def _size(path: Path | str | None) -> int:
    """Return the bytes of a file; -1 where there is none."""
    try:
        return -1 if path is None else stamp_of(Path(path))[0]
    except (OSError, ValueError):
        return -1


def hash_strings(strings: Iterable[str]) -> str:
    """Return the hex SHA-256 of a sequence of strings; it depends on where each one ends."""
    digest = hashlib.sha256()
    for string in strings:
        encoded = string.encode("utf-8")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()


def _content(item: Item) -> str:
    """Return what a fingerprint covers of one item, for image and text as in version 0.1."""
    content: list[object] = [
        item.id,
        item.sources.get("image"),
        item.sources.get("text"),
        sorted(item.labels),
    ]
    if not item.sources.keys() <= _FIRST:
        content.append({name: item.sources[name] for name in sorted(item.sources.keys() - _FIRST)})
    if item.probabilities:
        content.append(["probabilities", sorted(item.probabilities.items())])
    return json.dumps(content)


def _frozen(array: NDArray[np.bool_]) -> NDArray[np.bool_]:
    array.setflags(write=False)
    return array
