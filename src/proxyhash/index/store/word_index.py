"""The word index of a generation: a full-text table (SQLite FTS5) over the payloads of its rows.

It lies beside the items, in `words-000001.sqlite`, and is derived from them. Row r of the items is
row r of the words. A row's payload never changes, and dead rows are not shown, so entries are only
ever appended: `state.rows` says how many rows are in. It is written once the items are committed,
by whoever writes them; a process that dies in between leaves rows that the next writer takes in. A
word index that is made again gets the next number, and counts once it has its name.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections import Counter, deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.errors import DataError, ProxyhashError
from proxyhash.files import hold_lock
from proxyhash.index.store import database
from proxyhash.index.store.content import as_payload, content_errors
from proxyhash.index.store.database import MovedError
from proxyhash.index.store.disk import disk_errors, sync
from proxyhash.index.store.word_lookup import find_matching
from proxyhash.index.words import BOUNDARY, words_of_payload
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy.typing as npt

    from proxyhash.index.store.access import Access
    from proxyhash.index.store.database import Connection
    from proxyhash.index.store.generation import Generation
    from proxyhash.index.store.row_table import RowTable
    from proxyhash.index.store.word_lookup import Matching
    from proxyhash.index.words import WordQuery

__all__ = [
    "WordIndex",
    "WordState",
    "connect_words",
    "copy_words",
    "fill_current",
    "follow_words",
    "hold_words",
    "words_path",
]

logger = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE state (version INTEGER NOT NULL, rows INTEGER NOT NULL, fields TEXT NOT NULL);
CREATE TABLE terms (term TEXT PRIMARY KEY, rows INTEGER NOT NULL) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5(text, content='', columnsize=0, tokenize='ascii');
"""
"""`terms`: how many rows have a word. Words come split, so the tokenizer has nothing to decide."""

VERSION = 1

_NAME = re.compile(r"words-(\d{6})\.sqlite")
_BATCH = 10_000


@dataclass(frozen=True)
class WordState:
    """Extent of a word index.

    Attributes:
        rows: how many rows it has taken in.
        fields: keys of payloads whose words it has; None for all but `image`.
    """

    rows: int
    fields: tuple[str, ...] | None


def words_path(folder: Path) -> Path | None:
    """Return the current word index of a generation's folder; None if there is none."""
    try:
        names = sorted(name for name in os.listdir(folder) if _NAME.fullmatch(name))  # noqa: PTH208
    except OSError:
        return None
    return folder / names[-1] if names else None


class WordIndex:
    """The word index of one generation, opened with it; what is open outlives its file's name.

    Args:
        folder: the generation's.
        write: whether rows are taken in here.
    """

    def __init__(self, folder: Path, *, write: bool) -> None:
        self._folder = folder
        self._write = write
        self._path: Path | None = None
        self._database: Connection | None = None
        with suppress(ProxyhashError):  # said when it is asked
            self._open(words_path(folder))

    @property
    def exists(self) -> bool:
        """Whether there is one."""
        return self._database is not None or words_path(self._folder) is not None

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
        self._database = self._path = None

    def state(self) -> WordState | None:
        """Return how far it is; None if there is none."""
        with self._errors(), self._transaction() as connection:
            return None if connection is None else _read_state(connection)

    def problem(self) -> str | None:
        """Return why it cannot be read, a sentence, or None."""
        try:
            self.state()
        except ProxyhashError as error:
            return str(error)
        return None

    def find(
        self, query: WordQuery, *, rows: RowTable, mask: npt.NDArray[np.bool_] | None
    ) -> Matching | None:
        """Return the rows that match; None if there is no word index.

        Args:
            query: its terms are looked up.
            rows: those there are for the one who asks; what is rare among them counts most.
            mask: bool (n,); where it is False, a row is left out.
        """
        with self._errors(), self._transaction() as connection:
            if connection is None:
                return None
            return find_matching(connection, query, rows=rows, mask=mask)

    def follow(self, generation: Generation) -> None:
        """Take in what was committed; what is impossible now is left to the next writer."""
        try:
            with self._errors(), self._transaction(write=True) as connection:
                if connection is not None:
                    _take_in(connection, generation)
        except MovedError:
            raise
        except ProxyhashError as error:
            logger.warning("the word index does not have the latest items: %s", error)

    def find_problems(self, generation: Generation) -> list[str]:
        """Return the problems found by comparing it with the payloads, one sentence each."""
        try:
            with self._errors(), self._transaction() as connection:
                return [] if connection is None else self._compare(connection, generation)
        except DataError as error:
            return [str(error)]

    def _compare(self, connection: Connection, generation: Generation) -> list[str]:
        state, rows = _read_state(connection), generation.rows.count
        if state.rows < rows:
            return [f"{self._path} has {state.rows:,} of {rows:,} rows; {self._advice}"]
        found = np.zeros(rows, np.uint64)
        with _vocabulary(connection, "row", write=self._write) as table:
            pairs = f"SELECT term, doc FROM {table} WHERE term <> ?"  # noqa: S608
            (count,) = connection.execute(
                f"SELECT count(*) FROM (SELECT * FROM ({pairs} EXCEPT SELECT * FROM terms)"  # noqa: S608
                f" UNION ALL SELECT * FROM (SELECT * FROM terms EXCEPT {pairs}))",
                (BOUNDARY, BOUNDARY),
            ).fetchone()
            if count:
                return [f"{self._path} counts {count:,} words wrongly; {self._advice}"]
        with _vocabulary(connection, "instance", write=self._write) as table:
            for word, row, place in connection.execute(
                f'SELECT term, doc, "offset" FROM {table}'  # noqa: S608
            ):
                if row < rows:  # else of a later change
                    found[row] += np.uint64(hash((word, place)) & 0xFFFFFFFF)
        wrong = 0
        for row, payload in generation.database.execute("SELECT row, payload FROM items"):
            words = words_of_payload(as_payload(payload), state.fields)
            own = sum(hash((word, place)) & 0xFFFFFFFF for place, word in enumerate(words))
            wrong += own != int(found[row])
        if not wrong:
            return []
        what = "1 item has other words" if wrong == 1 else f"{wrong:,} items have other words"
        return [f"{self._path}: {what} than its payload; {self._advice}"]

    @property
    def _advice(self) -> str:
        return f"`proxyhash index words {self._folder.parent}` makes it again"

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[Connection | None]:
        self._open(words_path(self._folder))
        if self._database is None or self._path is None:
            yield None
            return
        with (
            database.transaction(self._database, self._path, write=write),
            content_errors(self._path),
        ):
            yield self._database

    def _open(self, path: Path | None) -> None:
        """Open the current file; where none has the name any more, keep what is open."""
        opened = self._database
        if path is None:
            return
        if opened is not None and (path != self._path or opened.moved):
            self.close()
        if self._database is None:
            self._database = connect_words(path, write=self._write)
            self._path = path

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except DataError as error:
            self.close()
            reason = str(error).removesuffix("; restore a snapshot")
            if self._advice in reason:
                raise
            raise DataError(f"{reason}; {self._advice}") from error


@contextmanager
def _vocabulary(connection: Connection, kind: str, *, write: bool) -> Iterator[str]:
    """Give a table of what the full-text table has, which is not in the file."""
    connection.allow(bounded=False)
    connection.execute("PRAGMA query_only = 0")
    connection.execute(f"CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab(main, words, {kind})")
    try:
        yield "temp.vocabulary"
    finally:
        connection.execute("DROP TABLE temp.vocabulary")
        if not write:
            connection.execute("PRAGMA query_only = 1")


def _check_state(connection: sqlite3.Connection, path: Path) -> None:
    with content_errors(path):
        _read_state(connection)


def _read_state(connection: sqlite3.Connection) -> WordState:
    found = connection.execute("SELECT version, rows, fields FROM state LIMIT 2").fetchall()
    match found:
        case [(int(version), int(rows), str(text))] if version == VERSION and rows >= 0:
            fields = json.loads(text)
            if fields is None:
                return WordState(rows, None)
            if isinstance(fields, list) and all(isinstance(name, str) for name in fields):
                return WordState(rows, tuple(fields))
    raise ValueError(f"its state is {found!r:.100}")


def connect_words(path: Path, *, write: bool) -> Connection:
    """Open a word index; see `database.connect`."""
    return database.connect(path, write=write, schema=SCHEMA, check=_check_state)


def follow_words(generation: Generation) -> None:
    """Take what was committed into a generation's word index, if it has one."""
    if generation.words.exists:
        with generation.transaction():
            generation.refresh()
            generation.words.follow(generation)


def copy_words(source: Generation, target: Generation) -> None:
    """Make the word index of a compacted generation, if the one it was made from has one."""
    if source.salvaged or not source.words.exists:
        return
    try:
        state = source.words.state()
    except DataError as error:
        logger.warning("the word index is left out: %s", error)
        return
    if state is not None:
        _write(lambda: _refreshed(target), target.folder, fields=state.fields)


def hold_words(folder: Path) -> AbstractContextManager[None]:
    """Let nobody else make the word index of an index folder while a block runs.

    Raises:
        DataError: "another process (pid 123) is writing to the word index of FOLDER; ...".
    """
    return hold_lock(folder / "words.lock", f"the word index of {folder}")


def fill_current(access: Access, *, fields: Sequence[str] | None, track: Track = silent) -> int:
    """Make the word index of the current generation, and return how many rows it has.

    Raises:
        MovedError: the index was compacted meanwhile.
        ProxyhashError: it cannot be written, or another process makes one.
    """
    with disk_errors(access.folder), hold_words(access.folder):
        with access.reading() as generation:
            folder = generation.folder
        try:
            _write(access.reading, folder, fields=fields, track=track)
        except ProxyhashError as error:
            if folder.exists():
                raise
            raise MovedError(str(error)) from error
        words = WordIndex(folder, write=True)
        try:
            with access.reading() as generation:
                if generation.folder != folder:
                    raise MovedError(f"{access.folder} was compacted meanwhile; try again")
                words.follow(generation)
            state = words.state()
        finally:
            words.close()
    return 0 if state is None else state.rows


@contextmanager
def _refreshed(generation: Generation) -> Iterator[Generation]:
    with generation.transaction():
        generation.refresh()
        yield generation


def _write(
    reading: Callable[[], AbstractContextManager[Generation]],
    folder: Path,
    *,
    fields: Sequence[str] | None,
    track: Track = silent,
) -> None:
    """Write a word index, which counts once it is whole.

    Args:
        reading: gives the generation, for a block that reads it.
        folder: the generation's.
        fields: keys of payloads whose words it gets; None for all but `image`.
        track: told of the progress, row by row.
    """
    last = words_path(folder)
    number = 1 + (0 if last is None else int(last.stem.partition("-")[2]))
    new = folder / f".words-{os.getpid()}.sqlite"
    with disk_errors(folder):
        for left in folder.glob(".words-*"):  # by a process that was killed
            left.unlink(missing_ok=True)
        try:
            database.create(new, schema=SCHEMA)
            connection = database.connect(new, write=True, schema=SCHEMA, check=lambda *_: None)
            try:
                # Nobody reads it before it is complete: it needs no journal.
                connection.execute("PRAGMA journal_mode = OFF")
                connection.execute("PRAGMA synchronous = OFF")
                names = json.dumps(None if fields is None else list(fields))
                connection.execute("INSERT INTO state VALUES (?, 0, ?)", (VERSION, names))
                with reading() as generation:
                    count = generation.rows.count
                steps = _steps(connection, new, reading, folder)
                deque(track(steps, "indexing words", count), maxlen=0)
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA journal_mode = WAL")
            finally:
                connection.close()
            sync(new)
            new.rename(folder / f"words-{number:06}.sqlite")
        finally:
            _remove(new)
        sync(folder)
    if last is not None:
        _remove(last)


def _steps(
    connection: Connection,
    path: Path,
    reading: Callable[[], AbstractContextManager[Generation]],
    folder: Path,
) -> Iterator[int]:
    """Take in all rows, batch by batch, and yield a number for each."""
    done = 1
    while done:
        with (
            reading() as generation,
            database.transaction(connection, path, write=True),
            content_errors(generation.path),
        ):
            if generation.folder != folder:
                raise MovedError(f"{folder} was compacted meanwhile; try again")
            done = _take_in(connection, generation, most=_BATCH)
        yield from range(done)


def _remove(path: Path) -> None:
    for ending in ("", "-wal", "-shm", "-journal"):
        with suppress(OSError):
            path.with_name(path.name + ending).unlink()


def _take_in(connection: Connection, generation: Generation, *, most: int | None = None) -> int:
    """Append the rows that are committed and not in yet; return how many rows were looked at."""
    state, count = _read_state(connection), generation.rows.count
    taken = 0
    while state.rows + taken < count and (most is None or taken < most):
        first = state.rows + taken
        last = min(first + _BATCH, count)
        frequency: Counter[str] = Counter()
        entries = []
        for row, payload in generation.database.execute(
            "SELECT row, payload FROM items WHERE row >= ? AND row < ? ORDER BY row", (first, last)
        ):
            words = words_of_payload(as_payload(payload), state.fields)
            frequency.update(set(words))
            entries.append((row, " ".join(words)))
        connection.executemany("INSERT INTO words(rowid, text) VALUES (?, ?)", entries)
        del frequency[BOUNDARY]
        connection.executemany(
            "INSERT INTO terms VALUES (?, ?) ON CONFLICT DO UPDATE SET rows = rows + excluded.rows",
            sorted(frequency.items()),
        )
        taken = last - state.rows
    if taken:
        connection.execute("UPDATE state SET rows = ?", (state.rows + taken,))
    return taken
