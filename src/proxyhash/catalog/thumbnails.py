"""Small images: JPEG thumbnails, their store beside an index, and `data:` addresses for a page.

Stored thumbnails are separate from the payloads, which every filter reads and every hit has, and
inside the index, so that a service shows images without opening a path that a payload names.
Thumbnails are derived: an item may lack one, and one whose item is gone is never shown.
"""

from __future__ import annotations

import base64
import io
import logging
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from proxyhash.catalog.side_file import SideFile
from proxyhash.data import open_image
from proxyhash.errors import ImageError, ProxyhashError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["StoredThumbnails", "ThumbnailStore", "Thumbnails", "jpeg_thumbnail"]

logger = logging.getLogger(__name__)


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


_FORMS = (
    "CREATE TABLE thumbnails (id TEXT PRIMARY KEY, jpeg BLOB NOT NULL, crc32 INTEGER)"
    " WITHOUT ROWID",
    "CREATE TABLE thumbnails (id TEXT PRIMARY KEY, jpeg BLOB NOT NULL) WITHOUT ROWID",
)
_ADDED = ("ALTER TABLE thumbnails ADD COLUMN crc32 INTEGER",)
_ADVICE = "delete it, then `proxyhash index add` with --thumbnails recreates the thumbnails"
_AT_ONCE = 500
_NAMED = 3  # damaged thumbnails that `verify` names


class ThumbnailStore:
    """The thumbnails of an index; each method opens the file for itself, so threads may share one.

    Args:
        path: the SQLite file.
        forgiving: whether a file that cannot be read counts as empty, and a deletion that is
            impossible is left out, with a warning: no search fails for thumbnails, and no
            change of items.
    """

    def __init__(self, path: Path, *, forgiving: bool = False) -> None:
        self.path = path
        self._forgiving = forgiving
        self._warned: set[str] = set()
        self._file = SideFile(path, table="thumbnails", forms=_FORMS, added=_ADDED, advice=_ADVICE)

    @classmethod
    def create(cls, path: Path) -> ThumbnailStore:
        """Return the store in a file, which is made if it is missing."""
        store = cls(path)
        if not path.is_file():
            with store._file.open(write=True):
                pass
        return store

    def put(self, thumbnails: Mapping[str, bytes]) -> None:
        """Store thumbnails, all or none, in place of what was stored under their ids."""
        if not thumbnails:
            return
        rows = ((id_, jpeg, _checksum(id_, jpeg)) for id_, jpeg in thumbnails.items())
        with self._file.open(write=True) as (connection, _):
            connection.executemany("INSERT OR REPLACE INTO thumbnails VALUES (?, ?, ?)", rows)

    def get(self, id: str) -> bytes | None:  # noqa: A002
        """Return the JPEG of an item, or None, also where it is damaged."""
        with self._forgiven(), self._file.open() as (connection, form):
            for jpeg in _sound(connection, form, [id]).values():
                return jpeg
        return None

    def delete(self, ids: Sequence[str]) -> None:
        """Remove thumbnails; ids without one are ignored."""
        if not ids:
            return
        with self._forgiven(), self._file.open(write=True) as (connection, _):
            connection.executemany("DELETE FROM thumbnails WHERE id = ?", ((id_,) for id_ in ids))

    def present(self, ids: Iterable[str], *, sound: bool = False) -> set[str]:
        """Return those of the ids that have a thumbnail; with `sound`, one that is not damaged."""
        wanted = list(ids)
        found: set[str] = set()
        with self._forgiven(), self._file.open() as (connection, form):
            for start in range(0, len(wanted) if form >= 0 else 0, _AT_ONCE):
                some = wanted[start : start + _AT_ONCE]
                if sound:
                    found.update(_sound(connection, form, some))
                    continue
                marks = ",".join("?" * len(some))
                rows = connection.execute(
                    f"SELECT id FROM thumbnails WHERE id IN ({marks})",  # noqa: S608
                    some,
                )
                found.update(id_ for (id_,) in rows)
        return found

    def compact(self, *, keep: Callable[[str], bool]) -> int:
        """Remove thumbnails whose id is not kept, reclaim disk space, and return their number."""
        with self._file.open(seconds=None) as (connection, form):
            rows = connection.execute("SELECT id FROM thumbnails") if form >= 0 else ()
            gone = [id_ for (id_,) in rows if not (isinstance(id_, str) and keep(id_))]
        self.delete(gone)
        self._file.reclaim()
        return len(gone)

    def copy_to(self, path: Path) -> None:
        """Write the thumbnails into another file, also while others write here."""
        target = ThumbnailStore(path)._file
        with self._file.open(seconds=None) as (source, _), target.open(write=True) as (there, _):
            source.execute("COMMIT")
            there.execute("COMMIT")
            source.backup(there)

    def problem(self) -> str | None:
        """Return why the thumbnails cannot be read now, a sentence, or None; quick."""
        return self._file.problem()

    def verify(self) -> str | None:
        """Return the problem with the file, or None; reads all of it."""
        if problem := self._file.find_damage():
            return problem
        damaged: list[str] = []
        count = 0
        try:
            for id_, jpeg, crc in self._all():
                if not _is_sound(id_, jpeg, crc):
                    count += 1
                    damaged = [*damaged, str(id_)][:_NAMED]
        except ProxyhashError as error:
            return str(error)
        if not count:
            return None
        what = "1 thumbnail is" if count == 1 else f"{count:,} thumbnails are"
        names = ", ".join(f"{name!r:.60}" for name in damaged) + (", ..." if count > _NAMED else "")
        return (
            f"{self.path}: {what} damaged ({names}); `proxyhash index add` with the same manifest "
            "makes them again"
        )

    def __bool__(self) -> bool:
        """Return True: a store is one even without thumbnails, and need not count them."""
        return True

    def __len__(self) -> int:
        """Return the number of thumbnails."""
        count = 0
        with self._forgiven(), self._file.open() as (connection, form):
            if form >= 0:
                (count,) = connection.execute("SELECT count(*) FROM thumbnails").fetchone()
        return count

    def _all(self) -> Iterator[tuple[object, object, object]]:
        """Return id, JPEG and checksum of every thumbnail; writers come in between."""
        last: tuple[object, ...] = ()
        while True:
            with self._file.open() as (connection, form):
                after = "WHERE id > ? " if last else ""
                rows = (
                    connection.execute(f"{_select(form)} {after}ORDER BY id LIMIT {_AT_ONCE}", last)
                    if form >= 0
                    else ()
                )
                found = list(rows)
            yield from found
            if len(found) < _AT_ONCE:
                return
            last = (found[-1][0],)

    @contextmanager
    def _forgiven(self) -> Iterator[None]:
        try:
            yield
        except ProxyhashError as error:
            if not self._forgiving:
                raise
            if (sentence := str(error)) not in self._warned:
                self._warned.add(sentence)
                logger.warning("there are no thumbnails: %s", sentence)


def _select(form: int) -> str:
    crc = "crc32" if form == 0 else "NULL"
    return f"SELECT id, jpeg, {crc} FROM thumbnails"  # noqa: S608


def _sound(connection: sqlite3.Connection, form: int, ids: Sequence[str]) -> dict[str, bytes]:
    """Return those of the thumbnails that are not damaged, by id."""
    if form < 0:
        return {}
    marks = ",".join("?" * len(ids))
    rows = connection.execute(f"{_select(form)} WHERE id IN ({marks})", ids)
    return {id_: jpeg for id_, jpeg, crc in rows if _is_sound(id_, jpeg, crc)}


def _is_sound(id_: object, jpeg: object, crc: object) -> bool:
    """Whether a thumbnail is what was stored; those of earlier versions have no checksum."""
    if not isinstance(id_, str) or not isinstance(jpeg, bytes):
        return False
    return crc is None or _checksum(id_, jpeg) == crc


def _checksum(id_: str, jpeg: bytes) -> int:
    return zlib.crc32(jpeg, zlib.crc32(id_.encode()))
