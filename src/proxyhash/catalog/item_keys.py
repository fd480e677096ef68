"""Keys of what an index's items were made from, so that `index sync` encodes what changed only."""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.catalog.side_file import SideFile
from proxyhash.data.contained import stamp_of
from proxyhash.errors import DataError, ProxyhashError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxyhash.data import Collection
    from proxyhash.index import IndexItem

__all__ = ["ItemKeys", "key_of_source", "key_of_stored"]

logger = logging.getLogger(__name__)

_FORM = (
    "CREATE TABLE keys (id TEXT PRIMARY KEY, source BLOB NOT NULL, stored BLOB NOT NULL)"
    " WITHOUT ROWID"
)
_BYTES = 16
_AT_ONCE = 500


def key_of_source(payload: Mapping[str, object], collection: Collection, row: int) -> bytes | None:
    """Return a digest of what an item is made from; None where one of its files is not there.

    Of a file, its path, size and time of modification count, for one inside a tar or Parquet file
    those of the latter; everything else counts as it is.
    """
    files = []
    for name in collection.modalities:
        source = collection.sources(name)[row]
        if isinstance(source, Path):
            try:
                files.append([name, *stamp_of(source)])
            except OSError:
                return None
    return _digest(json.dumps([payload, files], sort_keys=True).encode())


def key_of_stored(item: IndexItem) -> bytes:
    """Return a digest of an item as an index holds it."""
    codes = {name: np.asarray(code).tobytes().hex() for name, code in item.codes.items()}
    return _digest(json.dumps([codes, item.payload], sort_keys=True).encode())


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:_BYTES]


class ItemKeys:
    """Digests of the sources of items, and of the items that were stored from them.

    An item whose digests are both as recorded needs no encoding. The file may only cost time: one
    that cannot be read counts as empty, and a damaged one is made again.

    Args:
        path: the SQLite file, made at the first writing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._warned = False
        self._file = SideFile(
            path, table="keys", forms=[_FORM], added=[], advice="delete it; it is made again"
        )

    def get_many(self, ids: Sequence[str]) -> dict[str, tuple[bytes, bytes]]:
        """Return the digests of source and stored item, of those of the ids that have any."""
        found: dict[str, tuple[bytes, bytes]] = {}
        with suppress(ProxyhashError), self._file.open() as (connection, form):
            for start in range(0, len(ids) if form >= 0 else 0, _AT_ONCE):
                some = ids[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = connection.execute(
                    f"SELECT id, source, stored FROM keys WHERE id IN ({marks})",  # noqa: S608
                    some,
                )
                found.update({id_: (source, stored) for id_, source, stored in rows})
        return found

    def put(self, keys: Mapping[str, tuple[bytes, bytes]]) -> None:
        """Record digests; call it once the items are stored."""
        rows = [(id_, *pair) for id_, pair in keys.items()]
        self._write("INSERT OR REPLACE INTO keys VALUES (?, ?, ?)", rows)

    def delete(self, ids: Sequence[str]) -> None:
        """Forget items."""
        self._write("DELETE FROM keys WHERE id = ?", [(id_,) for id_ in ids])

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        if not rows:
            return
        try:
            try:
                self._execute(statement, rows)
            except DataError:  # damaged, or somebody else's: nothing is lost with it
                for path in (self.path, self.path.with_name(self.path.name + "-journal")):
                    path.unlink(missing_ok=True)
                self._execute(statement, rows)
        except (ProxyhashError, OSError) as error:
            if not self._warned:
                self._warned = True
                logger.warning("`index sync` will encode these items again: %s", error)

    def _execute(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        with self._file.open(write=True) as (connection, _):
            connection.executemany(statement, rows)
