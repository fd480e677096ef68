"""Memory of the manifests that the items of an index came from: `manifests.json`.

    {"format": 1, "manifests": ["/data/photos/items.jsonl"]}

Payloads name images relative to their manifest; `index migrate` reads them there again. The file is
missing in indexes of earlier versions, and may be deleted.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from proxyhash.errors import DataError
from proxyhash.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxyhash.data import Collection

__all__ = ["copy_manifests", "manifests_of", "remember_manifest", "remember_manifests"]

_NAME = "manifests.json"
_FORMAT = 1
_MOST = 1_000


def manifests_of(index: Path) -> list[Path]:
    """Return the manifests that an index folder remembers, the latest last."""
    with suppress(DataError, ValueError):
        path = index / _NAME
        value = read_json(path, ours=True) if path.is_file() else {}
        if isinstance(value, dict) and value.get("format") == _FORMAT:
            found = value.get("manifests")
            if isinstance(found, list):
                return [Path(one) for one in found[-_MOST:] if isinstance(one, str) and one]
    return []


def remember_manifest(index: Path, collection: Collection) -> None:
    """Let an index folder remember that items came from a manifest."""
    remember_manifests(index, [collection.path])


def remember_manifests(index: Path, manifests: Sequence[Path]) -> None:
    """Let an index folder remember several manifests, the latest last."""
    before = manifests_of(index)
    new = [path.absolute() for path in manifests]
    now = [*(path for path in before if path not in new), *new][-_MOST:]
    if now != before:
        write_json(index / _NAME, {"format": _FORMAT, "manifests": [str(path) for path in now]})


def copy_manifests(source: Path, target: Path) -> None:
    """Let a copy of an index remember what its source does."""
    if found := manifests_of(source):
        remember_manifests(target, found)
