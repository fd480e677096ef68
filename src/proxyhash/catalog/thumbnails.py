"""Small images: JPEG thumbnails, their store beside an index, and `data:` addresses for a page.

Stored thumbnails are separate from the payloads, which every filter reads and every hit has, and
inside the index, so that a service shows images without opening a path that a payload names.
Thumbnails are derived: an item may lack one, and one whose item is gone is never shown.
"""

from __future__ import annotations

import base64
import io
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Protocol

from proxyhash.data import open_image
from proxyhash.errors import DataError, ImageError, ProxyhashError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["StoredThumbnails", "ThumbnailStore", "Thumbnails", "jpeg_thumbnail"]


class StoredThumbnails(Protocol):
    """Images of items: a `ThumbnailStore`, or a dictionary."""

    def get(self, id: str, /) -> bytes | None:  # noqa: A002
        """Return the JPEG of an item, or None."""
        ...


def jpeg_thumbnail(path: Path, *, edge: int, quality: int = 82) -> bytes | None:
    """Return an image as a small JPEG, or None where it cannot be shown.

    The image is re-encoded, so only the pixels of the file are in the result.

    Args:
        path: the image file.
        edge: longest side in pixels; smaller images keep their size.
        quality: of the JPEG, up to 95.
    """
    try:
        image = open_image(path)
    except (ImageError, OSError):  # also a folder that may not be entered
        return None
    image.thumbnail((edge, edge))
    image.info.clear()  # comments and profiles, which the JPEG writer would take over
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


class Thumbnails:
    """Makes thumbnails until a page has enough of them.

    Args:
        edge: longest side in pixels.
        budget: bytes of address text after which no more are made, so that a page with a thousand
            hits still opens.
        stored: where the images of items come from, if not from the paths that the items name.
    """

    def __init__(
        self, *, edge: int = 360, budget: int = 24_000_000, stored: StoredThumbnails | None = None
    ) -> None:
        self.edge = edge
        self.left = budget
        self.stored = stored

    def of(self, path: Path) -> str | None:
        """Return an image file as a `data:` address, or None where it cannot be shown."""
        return self._address(jpeg_thumbnail(path, edge=self.edge)) if self.left > 0 else None

    def of_item(self, id: str, path: Path) -> str | None:  # noqa: A002
        """Return the image of an item as a `data:` address, or None where there is none."""
        return self._address(self.stored.get(id)) if self.stored is not None else self.of(path)

    def _address(self, jpeg: bytes | None) -> str | None:
        if jpeg is None or self.left <= 0:
            return None
        address = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
        self.left -= len(address)
        return address


_SCHEMA = "CREATE TABLE thumbnails (id TEXT PRIMARY KEY, jpeg BLOB NOT NULL) WITHOUT ROWID"
_AT_ONCE = 500


class ThumbnailStore:
    """The thumbnails of an index; each method opens the file for itself, so threads may share one.

    Args:
        path: the SQLite file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> ThumbnailStore:
        """Return the store in a file, which is made if it is missing."""
        store = cls(path)
        if not path.is_file():
            with store._connection(write=True) as connection:
                connection.execute(_SCHEMA.replace("TABLE", "TABLE IF NOT EXISTS", 1))
        return store

    def put(self, thumbnails: Mapping[str, bytes]) -> None:
        """Store thumbnails, all or none, in place of what was stored under their ids."""
        with self._connection(write=True) as connection, connection:
            connection.executemany(
                "INSERT OR REPLACE INTO thumbnails VALUES (?, ?)", thumbnails.items()
            )

    def get(self, id: str) -> bytes | None:  # noqa: A002
        """Return the JPEG of an item, or None."""
        with self._connection() as connection:
            row = connection.execute("SELECT jpeg FROM thumbnails WHERE id = ?", (id,)).fetchone()
        return None if row is None else bytes(row[0])

    def delete(self, ids: Sequence[str]) -> None:
        """Remove thumbnails; ids without one are ignored."""
        with self._connection(write=True) as connection, connection:
            connection.executemany("DELETE FROM thumbnails WHERE id = ?", ((id_,) for id_ in ids))

    def present(self, ids: Iterable[str]) -> set[str]:
        """Return those of the ids that have a thumbnail."""
        wanted = list(ids)
        found: set[str] = set()
        with self._connection() as connection:
            for start in range(0, len(wanted), _AT_ONCE):
                some = wanted[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = connection.execute(
                    f"SELECT id FROM thumbnails WHERE id IN ({marks})",  # noqa: S608
                    some,
                )
                found.update(id_ for (id_,) in rows)
        return found

    def compact(self, *, keep: Callable[[str], bool]) -> int:
        """Remove thumbnails whose id is not kept, reclaim disk space, and return their number."""
        with self._connection() as connection:
            ids = [id_ for (id_,) in connection.execute("SELECT id FROM thumbnails")]
        gone = [id_ for id_ in ids if not keep(id_)]
        self.delete(gone)
        with self._connection(write=True) as connection:
            connection.execute("VACUUM")
        return len(gone)

    def copy_to(self, path: Path) -> None:
        """Write the thumbnails into another file, also while others write here."""
        with self._connection() as source, closing(sqlite3.connect(path)) as target:
            source.backup(target)

    def verify(self) -> str | None:
        """Return the problem with the file, or None."""
        try:
            with self._connection() as connection:
                (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except DataError as error:
            return str(error)
        return None if answer == "ok" else f"{self.path} is damaged ({answer})"

    def __len__(self) -> int:
        """Return the number of thumbnails."""
        with self._connection() as connection:
            (count,) = connection.execute("SELECT count(*) FROM thumbnails").fetchone()
        return int(count)

    @contextmanager
    def _connection(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        uri = self.path.absolute().as_uri() + ("?mode=rwc" if write else "?mode=ro")
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=20)) as connection:
                yield connection
        except sqlite3.OperationalError as error:
            raise ProxyhashError(
                f"{self.path}: {error}; check disk space and permissions, then run again"
            ) from error
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{self.path} is damaged ({error}); delete it, then `proxyhash index add` with "
                "--thumbnails recreates the thumbnails"
            ) from error
