"""Split of a collection into query, gallery, train and validation items, stored as JSON."""

from __future__ import annotations

import json
import logging
import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proxyhash.data.collection import Collection, hash_strings
from proxyhash.errors import DataError, UsageError
from proxyhash.files import read_json, write_output

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["MOST_IDS", "PARTS", "Positions", "Split"]

Positions: TypeAlias = NDArray[np.int64]

PARTS = ("query", "gallery", "train", "validation")

MOST_IDS = 200_000
"""Ids of a part up to which a split file names them."""

_FORMAT = 1
_STORED = ("query", "train", "validation")  # the gallery follows

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Positions of a collection's items by part, int64, each part sorted.

    Every item is a query or in the gallery; train and validation are disjoint parts of the
    gallery, as is usual in the literature, and together are the items whose labels may be used.
    `strict_gallery` excludes them.

    Attributes:
        query: the queries.
        gallery: the items that are searched: everything except the queries.
        train: the training items.
        validation: the items that choose the best epoch.
        seed: the seed of the draw; if the manifest assigns the parts, that of validation.
        source: `drawn`, or `manifest` if the manifest assigns the parts.
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
            ValueError: a position is out of range or in two of the three parts.
        """
        parts = [np.sort(_as_array(part)) for part in (query, train, validation)]
        every = np.concatenate(parts)
        if len(np.unique(every)) < len(every):
            raise ValueError("an id occurs twice in query, train and validation")
        if every.size and not 0 <= every.min() <= every.max() < count:
            raise ValueError(f"a position is outside of 0 to {count - 1}")
        gallery = np.setdiff1d(np.arange(count, dtype=np.int64), parts[0], assume_unique=True)
        return cls(parts[0], gallery, parts[1], parts[2], seed, source)

    @property
    def strict_gallery(self) -> Positions:
        """The gallery without train and validation, sorted."""
        return np.setdiff1d(self.gallery, np.concatenate([self.train, self.validation]))

    def fingerprint(self, collection: Collection) -> dict[str, Any]:
        """Return what identifies this split of this collection, ready for JSON.

        These are source, seed, counts, and SHA-256 hashes: of the collection's content (see
        `Collection.fingerprint`), of the class names, and of each part's ids in order.

        Raises:
            UsageError: "the split is of N items, but MANIFEST has M; ...".
        """
        count = len(self.query) + len(self.gallery)
        if count != len(collection):
            raise UsageError(
                f"the split is of {count:,} items, but {collection.path} has {len(collection):,}; "
                "use the manifest that it was drawn from"
            )
        return {
            "source": self.source,
            "seed": self.seed,
            "items": count,
            "collection": collection.fingerprint,
            "classes": _summary(collection.classes),
            **{part: _summary(self._ids(part, collection)) for part in PARTS},
        }

    def save(self, path: Path | str, collection: Collection) -> None:
        """Write the ids of query, train and validation with the fingerprint, as JSON.

        Above `MOST_IDS` ids of a part, it is a mask over the items in their order instead: the
        eight million ids of a part of ten million items would take 150 MB.
        """
        content: dict[str, Any] = {
            "format": _FORMAT,
            "source": self.source,
            "seed": self.seed,
            "fingerprint": self.fingerprint(collection),
        }
        content |= {part: self._stored(part, collection) for part in _STORED}
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_output(path, text.encode())

    @staticmethod
    def begins(head: bytes) -> bool:
        """Whether a file that begins so is a split."""
        return head[:1] == b"{" and b'"query"' in head and b'"id"' not in head[:200]

    @classmethod
    def load(cls, path: Path | str, collection: Collection) -> Split:
        """Read a split and check that it belongs to `collection`.

        Items and classes must be those that the split was made of; texts or labels that changed
        since then are only logged as a warning. A file written by hand needs only the lists of
        ids `query` and `train`.

        Raises:
            DataError: the file is not a split, or belongs to other items; says what differs.
        """
        path = Path(path)
        content = read_json(path)
        if not isinstance(content, dict) or "query" not in content or "train" not in content:
            raise DataError(f"{path} is not a split: lists of ids 'query' and 'train' are expected")
        if content.get("format", _FORMAT) != _FORMAT:
            raise DataError(
                f"{path} has format {content['format']!r}; this version reads {_FORMAT}"
            )
        source, seed = content.get("source", "drawn"), content.get("seed", 0)
        if source not in ("drawn", "manifest") or type(seed) is not int:
            raise DataError(f"{path} is not a split: source is {source!r} and seed is {seed!r}")
        places = _places(content, collection)
        parts = {part: _positions(path, content, part, places, collection) for part in _STORED}
        try:
            split = cls.of(len(collection), **parts, seed=seed, source=source)
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error
        if "fingerprint" in content:
            _compare(path, content, split.fingerprint(collection), collection)
        return split

    def _stored(self, part: str, collection: Collection) -> list[str] | dict[str, Any]:
        positions = getattr(self, part)
        if len(positions) <= MOST_IDS:
            return self._ids(part, collection)
        mask = np.zeros(len(collection), np.bool_)
        mask[positions] = True
        packed = b64encode(zlib.compress(np.packbits(mask).tobytes()))
        return {"count": len(positions), "of": len(mask), "mask": packed.decode()}

    def _ids(self, part: str, collection: Collection) -> list[str]:
        return [collection.ids[position] for position in getattr(self, part)]


def _as_array(positions: Iterable[int]) -> Positions:
    if isinstance(positions, np.ndarray):
        return positions.astype(np.int64)
    return np.fromiter(positions, dtype=np.int64)


def _summary(strings: list[str] | tuple[str, ...]) -> dict[str, Any]:
    return {"count": len(strings), "sha256": hash_strings(strings)}


def _places(content: Mapping[str, Any], collection: Collection) -> dict[str, int]:
    """Return where the items with the ids of a split are; those of all items take a gigabyte."""
    lists = [content[part] for part in _STORED if isinstance(content.get(part), list)]
    named = {id_ for ids in lists for id_ in ids if isinstance(id_, str)}
    return {id_: place for place, id_ in enumerate(collection.ids) if id_ in named}


def _positions(
    path: Path,
    content: Mapping[str, Any],
    part: str,
    places: Mapping[str, int],
    collection: Collection,
) -> Iterable[int]:
    ids = content.get(part, [])
    if isinstance(ids, dict):
        return _unpacked(path, ids, part, collection)
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        raise DataError(f"{path}: {part!r} must be a list of ids, which are strings")
    unknown = [each for each in ids if each not in places]
    if unknown:
        raise DataError(
            f"{path} is the split of another collection: {len(unknown):,} of its {len(ids):,} "
            f"{part} ids are not in {collection.path}, the first of them {unknown[0]!r}"
        )
    return [places[each] for each in ids]


def _unpacked(
    path: Path, stored: Mapping[str, Any], part: str, collection: Collection
) -> Positions:
    """Return the positions of a mask, see `Split.save`."""
    size = -(-len(collection) // 8)
    if stored.get("of") != len(collection):
        raise DataError(
            f"{path} is the split of another collection: {part!r} is a mask of "
            f"{stored.get('of')} items, {collection.path} has {len(collection):,}"
        )
    try:
        data = zlib.decompressobj().decompress(b64decode(stored["mask"], validate=True), size + 1)
        mask = np.unpackbits(np.frombuffer(data, np.uint8), count=len(collection))
        found = np.flatnonzero(mask).astype(np.int64)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise DataError(f"{path}: the mask {part!r} is damaged; draw a new split") from error
    if len(data) != size or len(found) != stored.get("count"):
        raise DataError(f"{path}: the mask {part!r} is damaged; draw a new split")
    return found


def _compare(
    path: Path, content: Mapping[str, Any], found: Mapping[str, Any], collection: Collection
) -> None:
    expected = content["fingerprint"]
    if not isinstance(expected, dict):
        raise DataError(f"{path}: 'fingerprint' must be an object")
    masks = [(part, f"{part} items") for part in _STORED if isinstance(content.get(part), dict)]
    for key, what in (("gallery", "items to search"), ("classes", "classes"), *masks):
        if expected.get(key) != found[key]:
            was = expected[key].get("count") if isinstance(expected.get(key), dict) else None
            raise DataError(
                f"{path} was made of another collection: it had {was} {what}, "
                f"{collection.path} has {found[key]['count']}, or others; draw a new split, or use "
                "the manifest it was made from"
            )
    if expected.get("collection") != found["collection"]:
        _log.warning("%s: texts, labels or image names changed since the split was made", path)
