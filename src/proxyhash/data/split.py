"""Which items are queries, which are searched, and which may teach: drawn by a seed, or named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proxyhash.data.collection import Collection, hash_strings
from proxyhash.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["PARTS", "Positions", "Split", "part_of", "split_fingerprint"]

Positions: TypeAlias = NDArray[np.int64]

PARTS = ("query", "gallery", "train", "validation")


@dataclass(frozen=True)
class Split:
    """Positions of a collection's items by part, int64, each part sorted.

    Queries and gallery share the collection between them; train and validation are disjoint parts
    of the gallery, as is the habit of the literature, and together are the items whose labels may
    be used. `strict_gallery` leaves them out.

    Attributes:
        query: what is searched for.
        gallery: what is searched: everything that is no query.
        train: what teaches.
        validation: what the best epoch is chosen by.
        seed: the seed it was drawn by; where the manifest named the parts, that of validation.
        source: `drawn`, or `manifest` where the manifest named the parts.
    """

    query: Positions
    gallery: Positions
    train: Positions
    validation: Positions
    seed: int
    source: Literal["drawn", "manifest"]

    @classmethod
    def of(
        cls,
        count: int,
        *,
        query: Iterable[int],
        train: Iterable[int],
        validation: Iterable[int],
        seed: int,
        source: Literal["drawn", "manifest"],
    ) -> Split:
        """Return the split of `count` items; the gallery follows from the queries.

        Raises:
            ValueError: a position is out of range or lies in two of the three parts.
        """
        parts = [_sorted(part) for part in (query, train, validation)]
        every = np.concatenate(parts)
        if len(np.unique(every)) < len(every):
            raise ValueError("query, train and validation share an item")
        if every.size and not 0 <= every.min() <= every.max() < count:
            raise ValueError(f"a position lies outside of 0 to {count - 1}")
        gallery = np.setdiff1d(np.arange(count, dtype=np.int64), parts[0], assume_unique=True)
        return cls(parts[0], gallery, parts[1], parts[2], seed, source)

    @property
    def strict_gallery(self) -> Positions:
        """The gallery without train and validation, sorted."""
        return np.setdiff1d(self.gallery, np.concatenate([self.train, self.validation]))

    def fingerprint(self, collection: Collection) -> dict[str, Any]:
        """Return what tells this split of this collection from any other, ready for JSON."""
        return split_fingerprint(self, collection)

    def save(self, path: Path | str, collection: Collection) -> None:
        """Write the split as JSON: the ids of query, train and validation, and the fingerprint."""
        from proxyhash.data.split_file import save_split

        save_split(self, path, collection)

    @classmethod
    def load(cls, path: Path | str, collection: Collection) -> Split:
        """Read a split that `save` wrote; see `split_file.load_split` for what is checked."""
        from proxyhash.data.split_file import load_split

        return load_split(path, collection)


def split_fingerprint(split: Split, collection: Collection) -> dict[str, Any]:
    """Return counts, and hashes of the classes and of each part's ids, ready for JSON.

    `collection` is the content hash of `Collection.fingerprint`; a part's hash is over its ids in
    the collection's order.
    """
    _check_length(split, collection)
    parts = {
        part: {
            "count": len(getattr(split, part)),
            "sha256": hash_strings(collection.ids[each] for each in getattr(split, part)),
        }
        for part in PARTS
    }
    return {
        "source": split.source,
        "seed": split.seed,
        "items": len(collection),
        "collection": collection.fingerprint,
        "classes": {
            "count": len(collection.classes),
            "sha256": hash_strings(collection.classes),
        },
        **parts,
    }


def part_of(name: str) -> str | None:
    """Return the part that a manifest's `split` value means, or None for an unknown one."""
    return _NAMES.get(name.strip().lower())


_NAMES = {
    "query": "query",
    "queries": "query",
    "test": "query",
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "gallery": "gallery",
    "database": "gallery",
    "retrieval": "gallery",
}


def _sorted(part: Iterable[int]) -> Positions:
    return np.sort(np.fromiter(part, dtype=np.int64))


def _check_length(split: Split, collection: Collection) -> None:
    count = len(split.query) + len(split.gallery)
    if count != len(collection):
        raise UsageError(
            f"the split is of {count:,} items, but {collection.path} has {len(collection):,}; "
            "use the manifest that it was drawn from"
        )
