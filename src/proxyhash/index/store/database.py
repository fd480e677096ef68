"""SQLite file of an index: committed changes, ids and payloads."""

from __future__ import annotations

import json
import math
import os
import sqlite3
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.errors import DataError, ProxyhashError, StoppedError
from proxyhash.files import check_regular, regular_handle
from proxyhash.index.store.content import check_schema, content_errors, read_state
from proxyhash.stopping import check_stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    Check = Callable[[sqlite3.Connection, Path], object]

__all__ = [
    "Connection",
    "MovedError",
    "connect",
    "create",
    "database_errors",
    "read_header",
    "rows_by_id",
    "transaction",
]

SCHEMA = """
CREATE TABLE header (json TEXT NOT NULL);
CREATE TABLE state (change INTEGER NOT NULL, rows INTEGER NOT NULL, items INTEGER NOT NULL);
CREATE TABLE items (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    payload TEXT NOT NULL,
    crc32 INTEGER NOT NULL
);
CREATE TABLE runs (first INTEGER PRIMARY KEY, modalities INTEGER NOT NULL);
CREATE TABLE changes (change INTEGER NOT NULL, kind TEXT NOT NULL, rows BLOB NOT NULL);
CREATE INDEX changes_by_number ON changes (change);
CREATE TABLE blocks (
    log TEXT NOT NULL,
    block INTEGER NOT NULL,
    crc32 INTEGER NOT NULL,
    PRIMARY KEY (log, block)
) WITHOUT ROWID;
INSERT INTO state VALUES (0, 0, 0);
"""
"""`state` is one row. `runs`: from row `first` on, rows have these modalities, as bits.
`changes`: rows deleted (int64), or given another rank (pairs of int64 row and uint64 rank)."""

_WRITES = ("WRITE", "FSYNC", "DIR_FSYNC", "TRUNCATE", "SHMSIZE", "SHMOPEN", "DELETE")

_SETTINGS = (
    "PRAGMA synchronous = FULL",
    # Items are looked up one by one all over the file; a map finds a page without a system call.
    # SQLite bounds the size by itself, and reads what lies beyond.
    "PRAGMA mmap_size = 68719476736",
    "PRAGMA cache_size = -65536",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA busy_timeout = 20000",
    "PRAGMA trusted_schema = 0",
    "PRAGMA cell_size_check = 1",
)

_STEPS = 100_000
_MOST_STEPS = 100_000_000
_STEPS_PER_BYTE = 64
"""Steps of SQLite's machine between two calls of the progress handler; and how many a transaction
may take that reads: far more than any question of a sound file, and a few seconds."""


_NOT_WRITTEN = ("SQLITE_FULL", *(f"SQLITE_IOERR_{name}" for name in _WRITES))


class MovedError(ProxyhashError):
    """The database changed while it was read without locks; asking again gives a whole answer."""


class Connection(sqlite3.Connection):
    """A connection that knows its file, and leaves SQLite's other files in place when it closes.

    Readers without permission to write cannot make the files `-wal` and `-shm`, and without them
    take no part in locks. SQLite removes both when the last connection closes; here, they stay,
    empty.

    Attributes:
        path: of the database.
        stamp: without locks, what the file was like when it was opened; None with locks.
    """

    path: Path
    stamp: tuple[int, ...] | None = None
    ours = False
    _left: float = 0
    _measured = False
    _reason: ProxyhashError | None = None

    def allow(self, *, bounded: bool) -> None:
        """Let statements run from now on, until they do more than a sound file can need."""
        self._reason = None
        self._left = _MOST_STEPS / _STEPS if bounded else math.inf
        self._measured = False

    def allow_more(self, steps: int) -> None:
        """Allow a statement more steps, because it was given much to look up."""
        self._left += steps / _STEPS

    def interrupted(self) -> BaseException:
        """Return why a statement was interrupted; without a reason, by Ctrl-C."""
        if self._reason is not None:
            return self._reason
        return KeyboardInterrupt()

    def go_on(self) -> int:
        """Return 1 to interrupt the statement that runs; SQLite asks every `_STEPS` steps."""
        self._left -= 1
        try:
            check_stop()
            if self._left < 0 and not self._measured:
                size = sum(_size(_beside(self.path, suffix)) for suffix in ("", "-wal"))
                self._left += _STEPS_PER_BYTE * size / _STEPS
                self._measured = True
            if self._left < 0:
                self._reason = DataError(
                    f"{self.path} is damaged (reading it does not end); restore a snapshot"
                )
        except StoppedError as error:
            self._reason = error
        return int(self._reason is not None)

    @property
    def moved(self) -> bool:
        """Whether the file is read without locks, and was changed or has a writer by now."""
        return self.stamp is not None and (
            self.stamp != _stamp(self.path) or _beside(self.path, "-wal").exists()
        )

    def close(self) -> None:
        """Close the connection."""
        super().close()
        if not self.ours or not _writable(self.path):
            return
        with suppress(OSError, DataError):
            permissions = self.path.stat().st_mode & 0o777
            for suffix in ("-wal", "-shm"):
                handle = regular_handle(
                    _beside(self.path, suffix), os.O_RDWR | os.O_CREAT, permissions=permissions
                )
                os.close(handle)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError:
        return ()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def create(path: Path, *, schema: str = SCHEMA) -> None:
    """Create an empty database.

    Raises:
        OSError, ProxyhashError: the file cannot be written.
    """
    with database_errors(path):
        connection = sqlite3.connect(path, isolation_level=None, factory=Connection)
        connection.path, connection.ours = path, True
        try:
            connection.execute("PRAGMA page_size = 8192")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(schema)
        finally:
            connection.close()


def connect(
    path: Path, *, write: bool, schema: str = SCHEMA, check: Check = read_state
) -> Connection:
    """Open a database; transactions are begun and ended by hand.

    A reader takes part in SQLite's locks. Where it may not write and no writer was there yet, it
    does without, until it is `moved`: the files that locks need are not there.

    Args:
        path: of the database.
        write: whether it will be changed.
        schema: statements that make its tables; it must have exactly these.
        check: refuses what it counts, if that cannot be.

    Raises:
        DataError: the file is missing, or is not a database.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing; restore a snapshot of the index")
    check_regular(*(_beside(path, suffix) for suffix in ("", "-wal", "-shm")))
    # SQLite would play it back, and delete a file that it names; an index never has one.
    if os.path.lexists(journal := _beside(path, "-journal")):
        raise DataError(f"{journal} does not belong to an index; move it away, then verify")
    uri = path.absolute().as_uri()
    stamp: tuple[int, ...] | None = _stamp(path)
    if write or _writable(path):
        uri, stamp = uri + "?mode=rw", None
    elif _beside(path, "-wal").exists():
        uri, stamp = uri + "?mode=ro&readonly_shm=1", None
    else:
        uri += "?immutable=1"
    with database_errors(path):
        connection: Connection = sqlite3.connect(
            uri,
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            factory=Connection,
        )
        connection.path, connection.stamp = path, stamp
        connection.set_progress_handler(connection.go_on, _STEPS)
        connection.allow(bounded=True)
        try:
            with naming_interrupts(connection):
                for setting in _SETTINGS:
                    connection.execute(setting)
                if not write:
                    connection.execute("PRAGMA query_only = 1")
                check_schema(connection, path, schema)
                check(connection, path)
            connection.ours = True
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def naming_interrupts(connection: Connection) -> Iterator[None]:
    """Re-raise what interrupted a statement: damage, a stop, or Ctrl-C."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorname", "") != "SQLITE_INTERRUPT":
            raise
        raise connection.interrupted() from error


def rows_by_id(connection: sqlite3.Connection) -> npt.NDArray[np.int64]:
    """Return the rows of all items in the order of their ids, int64 (n,)."""
    found = connection.execute("SELECT row FROM items ORDER BY id")
    return np.fromiter((row for (row,) in found), np.int64)


def read_header(path: Path) -> Any:
    """Return the header that an index had when this database was made, decoded."""
    connection = connect(path, write=False)
    try:
        with database_errors(path), content_errors(path), naming_interrupts(connection):
            return json.loads(connection.execute("SELECT json FROM header LIMIT 1").fetchone()[0])
    finally:
        connection.close()


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


@contextmanager
def transaction(connection: Connection, path: Path, *, write: bool) -> Iterator[None]:
    """Let a block see one state of the database; what it writes is kept when it ends well.

    Raises:
        MovedError: it was read without locks, and may have changed meanwhile.
        ProxyhashError, DataError: as `database_errors`.
    """
    try:
        with _transaction(connection, path, write=write):
            yield
    except Exception as error:
        if connection.moved:
            raise MovedError(f"{path} changed while it was read; try again") from error
        raise
    if connection.moved:
        raise MovedError(f"{path} changed while it was read; try again")


@contextmanager
def _transaction(connection: Connection, path: Path, *, write: bool) -> Iterator[None]:
    connection.allow(bounded=not write)
    with database_errors(path), naming_interrupts(connection):
        connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Turn errors of SQLite into errors that name the file and the next step.

    Raises:
        DataError: the file is damaged.
        ProxyhashError: no room, no permission, or somebody else is in the way.
    """
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.Error as error:
        # Without a name, it is a text that is not UTF-8.
        name: Any = getattr(error, "sqlite_errorname", None) or "SQLITE_CORRUPT"
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_SCHEMA", "SQLITE_ERROR")):
            raise DataError(f"{path} is damaged ({error}); restore a snapshot") from error
        if name.startswith(_NOT_WRITTEN):
            raise ProxyhashError(
                f"{path} cannot be written ({error}): free disk space and run again; "
                "what was acknowledged before is kept"
            ) from error
        if name.startswith("SQLITE_IOERR"):
            raise ProxyhashError(
                f"{path} cannot be read ({error}): check the disk, and restore a snapshot if it "
                "does not read again"
            ) from error
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
            raise ProxyhashError(
                f"{path} cannot be opened or written ({error}); check the permissions of its folder"
            ) from error
        raise ProxyhashError(f"{path}: {error}; try again") from error
