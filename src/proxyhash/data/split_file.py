"""A split as a file: JSON with the ids of each part, so that people can read and make one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyhash.errors import DataError
from proxyhash.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.data.collection import Collection
    from proxyhash.data.split import Split

__all__ = ["load_split", "save_split"]

_FORMAT = 1
_STORED = ("query", "train", "validation")

_log = logging.getLogger(__name__)


def save_split(split: Split, path: Path | str, collection: Collection) -> None:
    """Write the ids of query, train and validation; the gallery is everything that is no query."""
    ids = collection.ids
    content: dict[str, Any] = {
        "format": _FORMAT,
        "source": split.source,
        "seed": split.seed,
        "fingerprint": split.fingerprint(collection),
    }
    content |= {part: [ids[each] for each in getattr(split, part)] for part in _STORED}
    write_json(path, content)


def load_split(path: Path | str, collection: Collection) -> Split:
    """Read a split and check that it belongs to `collection`.

    Items and classes must be those that the split was made of; texts or labels that changed since
    only give a warning in the log. A file without `fingerprint`, written by hand, needs no more
    than lists of ids that the collection has.

    Raises:
        DataError: the file is not a split, or is one of other items; says what differs.
    """
    from proxyhash.data.split import Split

    path = Path(path)
    content = read_json(path)
    if not isinstance(content, dict) or "query" not in content or "train" not in content:
        raise DataError(f"{path} is no split: an object with lists of ids is expected")
    if content.get("format", _FORMAT) != _FORMAT:
        raise DataError(f"{path} has format {content['format']!r}; this version reads {_FORMAT}")
    source = content.get("source", "drawn")
    seed = content.get("seed", 0)
    if source not in {"drawn", "manifest"} or not isinstance(seed, int) or isinstance(seed, bool):
        raise DataError(f"{path} is no split: source is {source!r} and seed is {seed!r}")
    parts = {part: _positions(path, content, part, collection) for part in _STORED}
    try:
        split = Split.of(len(collection), **parts, seed=seed, source=source)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    if (expected := content.get("fingerprint")) is not None:
        _compare(path, expected, split.fingerprint(collection), collection)
    return split


def _positions(
    path: Path, content: Mapping[str, Any], part: str, collection: Collection
) -> list[int]:
    ids = content.get(part, [])
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        raise DataError(f"{path}: {part!r} must be a list of ids, which are strings")
    unknown = [each for each in ids if each not in collection.positions]
    if unknown:
        raise DataError(
            f"{path} is the split of another collection: {len(unknown):,} of its {len(ids):,} "
            f"{part} ids are not in {collection.path}, the first of them {unknown[0]!r}"
        )
    return [collection.positions[each] for each in ids]


def _compare(path: Path, expected: Any, found: Mapping[str, Any], collection: Collection) -> None:
    if not isinstance(expected, dict):
        raise DataError(f"{path}: 'fingerprint' must be an object")
    if expected.get("gallery") != found["gallery"]:
        raise DataError(
            f"{path} is the split of {_count(expected)} items, of which {collection.path} with its "
            f"{len(collection):,} has not the same gallery; draw a new one, or use the old manifest"
        )
    if expected.get("classes") != found["classes"]:
        raise DataError(
            f"{path} was made when {collection.path} had other classes; draw a new one, or use the "
            "old manifest"
        )
    if expected.get("collection") != found["collection"]:
        _log.warning("%s: texts, labels or picture names changed since the split was made", path)


def _count(fingerprint: Mapping[str, Any]) -> str:
    items = fingerprint.get("items")
    return f"{items:,}" if isinstance(items, int) else "other"
