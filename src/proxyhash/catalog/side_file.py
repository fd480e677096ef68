"""SQLite files beside the items of an index, each with one table of a form that is known exactly.

An index may come from a stranger, so nothing in such a file is trusted: only a regular file with
exactly the table that this package writes is read, values of another type are left out, and no
reading takes longer than a time limit. What a process that was killed left half-written is rolled
back when the file is opened next, by a reader as well, if it may write there.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from proxyhash.errors import DataError, ProxyhashError
from proxyhash.regular import names_another_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["SideFile"]

MAX_VALUE = 64_000_000
"""Bytes of the largest text or blob that is read or written."""

SECONDS = 20.0
"""Time limit of one reading."""

_STEPS = 20_000  # of SQLite's virtual machine between two looks at the clock; a few milliseconds
_SIBLINGS = ("", "-journal", "-wal", "-shm")


class SideFile:
    """A SQLite file with one table; each method opens it for itself, so threads may share one.

    Args:
        path: the file.
        table: name of the table.
        forms: the statements that this version and earlier ones made the table with; the first is
            today's, and the others lack columns at its end.
        added: statements that turn a table of an earlier form into one of today's.
        advice: what to do when the file is damaged, the end of a sentence.
    """

    def __init__(
        self, path: Path, *, table: str, forms: Sequence[str], added: Sequence[str], advice: str
    ) -> None:
        self.path = path
        self._table = table
        self._forms = tuple(forms)
        self._added = tuple(added)
        self._advice = advice

    @contextmanager
    def open(
        self, *, write: bool = False, seconds: float | None = SECONDS
    ) -> Iterator[tuple[sqlite3.Connection, int]]:
        """Yield a connection and the number of the table's form, 0 for today's, -1 for no table.

        A file that is opened for writing has today's form; it is made if it is missing. What a
        block wrote is kept when it ends well.

        Raises:
            DataError: the file is damaged, or is something else.
            ProxyhashError: it cannot be opened or written now, or reading takes too long.
        """
        self._check_regular(may_be_missing=write)
        uri = self.path.absolute().as_uri() + ("?mode=rwc" if write else "?mode=rw")
        until = None if seconds is None or write else time.monotonic() + seconds
        with self._errors(), closing(sqlite3.connect(uri, uri=True, timeout=20)) as connection:
            connection.isolation_level = None
            connection.text_factory = self._text
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
            if until is not None:
                connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            if not write:
                connection.execute("PRAGMA query_only = ON")
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            form = self._form(connection)
            if write and form != 0:
                for statement in self._forms[:1] if form < 0 else self._added:
                    connection.execute(statement)
                form = 0
            yield connection, form
            if connection.in_transaction:
                connection.execute("COMMIT")

    def problem(self) -> str | None:
        """Return why the file cannot be read now, a sentence, or None where it can; quick."""
        try:
            with self.open() as (connection, form):
                if form >= 0:
                    connection.execute(f"SELECT * FROM {self._table} LIMIT 1").fetchone()  # noqa: S608
        except ProxyhashError as error:
            return str(error)
        return None

    def find_damage(self) -> str | None:
        """Return the problem with the file as a whole, or None; reads all of it."""
        try:
            with self.open(seconds=None) as (connection, _):
                (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except ProxyhashError as error:
            return str(error)
        return None if answer == "ok" else f"{self.path} is damaged ({answer}); {self._advice}"

    def reclaim(self) -> None:
        """Rewrite the file without the room of what was deleted."""
        with self.open(write=True) as (connection, _):
            connection.execute("COMMIT")
            connection.execute("VACUUM")

    def _check_regular(self, *, may_be_missing: bool) -> None:
        for ending in _SIBLINGS:
            path = self.path.with_name(self.path.name + ending)
            try:
                mode = os.lstat(path).st_mode
            except FileNotFoundError:
                if ending or may_be_missing:
                    continue
                raise ProxyhashError(
                    f"{path}: no such file; check disk space and permissions, then run again"
                ) from None
            except OSError as error:
                raise ProxyhashError(
                    f"{path}: {error.strerror}; check disk space and permissions, then run again"
                ) from error
            if not stat.S_ISREG(mode):
                raise DataError(
                    f"{path} is not a regular file, and is not opened: an index has no links, "
                    f"pipes or devices; {self._advice}"
                )
            if ending == "-journal" and names_another_file(path):
                raise DataError(
                    f"{path} names another file, which SQLite would delete; no index makes one: "
                    f"move it away; {self._advice}"
                )

    def _text(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path} holds text that is not UTF-8; {self._advice}") from error

    def _form(self, connection: sqlite3.Connection) -> int:
        """Return which of the forms the table has, or -1 where there is none."""
        found = connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master LIMIT 2"
        ).fetchall()
        if not found:
            return -1
        for number, form in enumerate(self._forms):
            if found == [("table", self._table, self._table, form)]:
                return number
        raise DataError(
            f"{self.path} has other tables than an index makes, and is not read; {self._advice}"
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            name = getattr(error, "sqlite_errorname", None) or ""
            if name == "SQLITE_INTERRUPT":
                raise ProxyhashError(
                    f"{self.path} takes more than {SECONDS:.0f} s to read, so it was given up; "
                    f"{self._advice}"
                ) from error
            raise ProxyhashError(
                f"{self.path}: {error}; check disk space and permissions, then run again"
            ) from error
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.path} is damaged ({error}); {self._advice}") from error
        except UnicodeDecodeError as error:  # SQLite names what it found
            raise DataError(f"{self.path} is damaged ({error.reason}); {self._advice}") from error
        except OverflowError as error:  # a blob above the limit
            raise DataError(f"{self.path}: {error}; {self._advice}") from error
