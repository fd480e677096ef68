"""The files of an index folder: which generation is current, and how another one replaces it.

header.json              what the index is, and which generation is current
lock                     held by the process that writes
generation-000001/
    items.sqlite         what is committed; ids and payloads
    image.codes          one code per row, and so on for every modality
    image.vectors        where vectors are kept, one per row, likewise
    order.rows           one rank per row; ranks compare as ids do
    words-000001.sqlite  optional: the word index, see `word_index`
    engines/             search engines, rebuilt where they are missing
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.errors import DataError, ProxyhashError, UsageError
from proxyhash.files import check_folder
from proxyhash.index.store import database
from proxyhash.index.store.content import content_errors
from proxyhash.index.store.disk import WriterLock, disk_errors, sync
from proxyhash.index.store.generation import Generation, database_path
from proxyhash.index.store.header import Header
from proxyhash.index.store.id_order import spread
from proxyhash.index.store.vectors import copied_vectors
from proxyhash.index.store.verify import find_problems, hide_damage
from proxyhash.index.store.word_index import copy_words, follow_words
from proxyhash.index.store.writing import append_rows, item_checksum

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import EllipsisType

    import numpy.typing as npt

    from proxyhash.codes.vectors import VectorKind
    from proxyhash.index.store.vectors import Weigh

__all__ = [
    "header_stamp",
    "make_folder",
    "open_generation",
    "read_header",
    "sweep",
    "switch_generation",
]

_ATTEMPTS = 10
_FIRST_GENERATION = "generation-000001"
_BATCH, _BATCH_BITS = 65_536, 2**24
"""Items that are copied at a time, and their bits."""


def _holds_nothing(folder: Path) -> bool:
    """Whether a folder is empty, or has what a process left that was killed while it made one.

    That is a lock and a first generation without a row; the header is written last.
    """
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".header-")}
    if not names <= {"lock", _FIRST_GENERATION}:
        return False
    return all(
        file.name.startswith("items.sqlite") or (file.is_file() and not file.stat().st_size)
        for file in folder.glob(f"{_FIRST_GENERATION}/*")
    )


def make_folder(folder: Path, header: Header, *, source: Generation | None = None) -> WriterLock:
    """Create an index folder, empty or with the items of another index, and lock it for writing.

    Raises:
        UsageError: there is something in the folder already.
        ProxyhashError: the folder cannot be written.
    """
    there = folder.exists()
    if there and not (folder.is_dir() and _holds_nothing(folder)):
        raise UsageError(f"{folder} exists already and is not empty; choose a new folder")
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = WriterLock(folder)
        if not _holds_nothing(folder):  # another process was faster
            lock.release()
            raise UsageError(f"{folder} exists already and is not empty; choose a new folder")
        try:
            shutil.rmtree(header.generation_folder(folder), ignore_errors=True)
            _fill(header.generation_folder(folder), header, source)
            header.save(folder)
            sync(folder)
        except BaseException:
            lock.release()
            shutil.rmtree(folder, ignore_errors=True)
            if there:
                folder.mkdir(exist_ok=True)
            raise
    return lock


def read_header(folder: Path, *, salvage: bool) -> Header:
    """Read the header of an index; to salvage one, from its database where need be.

    Raises:
        DataError: the folder is not an index, or damaged.
    """
    try:
        return Header.load(folder)
    except DataError:
        if not salvage:
            raise
        generations = sorted(folder.glob("generation-*"), reverse=True)
        for path in generations:
            if database_path(path).is_file():
                return Header.from_json(database.read_header(database_path(path)), path=path)
        raise


def open_generation(folder: Path, *, write: bool, salvage: bool, engine: str) -> Generation:
    """Open the current generation.

    Raises:
        DataError: the folder is not an index, or damaged.
    """
    attempts = 0
    while True:
        attempts += 1
        header = read_header(folder, salvage=salvage)
        generation = None
        try:
            path = header.generation_folder(folder)
            with disk_errors(path, verb="read"), suppress(FileNotFoundError):
                check_folder(path)
            generation = Generation(path, header, write=write, engine=engine)
            with generation.transaction():
                _take_in(generation, write=write, salvage=salvage)
            if write and not salvage:
                follow_words(generation)
        except BaseException as error:
            if generation is not None:
                generation.close()
            # A writer may have compacted the index since its header was read.
            if not isinstance(error, ProxyhashError) or attempts >= _ATTEMPTS:
                raise
            moved = isinstance(error, database.MovedError)
            if not moved and read_header(folder, salvage=salvage) == header:
                raise
        else:
            return generation


def _take_in(generation: Generation, *, write: bool, salvage: bool) -> None:
    if salvage:
        hide_damage(generation)
        return
    generation.check()
    if write:
        generation.roll_back()


def switch_generation(
    folder: Path,
    old: Generation,
    *,
    vectors: VectorKind | EllipsisType | None = ...,
    weigh: Weigh | None = None,
) -> Header:
    """Write a compacted copy of the open generation and make that the current one.

    Args:
        folder: the index folder.
        old: the open generation.
        vectors: how they are kept from now on; default as before.
        weigh: how sure the codes of stored items are of each bit, where that changes.
    """
    header = old.header.with_(generation=old.header.generation + 1)
    if vectors is not ...:
        header = header.with_(vectors=vectors)
    with disk_errors(folder):
        target = header.generation_folder(folder)
        try:
            _fill(target, header, old, weigh)
            header.save(folder)
        except BaseException:
            if Header.load(folder).generation != header.generation:
                shutil.rmtree(target, ignore_errors=True)
            raise
        sync(folder)
    return header


def sweep(folder: Path) -> None:
    """Remove generations other than the current one; only the writer may."""
    current = Header.load(folder).generation_folder(folder)
    for path in folder.glob("generation-*"):
        if path != current:
            shutil.rmtree(path, ignore_errors=True)


def header_stamp(folder: Path) -> tuple[int, int] | None:
    """Return a stamp that changes whenever `header.json` does, None where it cannot be read."""
    try:
        stat = (folder / "header.json").stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino


def _fill(
    target: Path, header: Header, source: Generation | None, weigh: Weigh | None = None
) -> None:
    if source is None:
        Generation.create(target, header)
    else:
        _copy_generation(source, target, header, weigh)


def _copy_generation(source: Generation, folder: Path, header: Header, weigh: Weigh | None) -> None:
    """Write a generation of the items of another, without dead rows and with engines saved.

    Rows are in the order of (modalities, id), so that a few runs describe who has which.

    Args:
        source: within a transaction, and up to date; where it was salvaged, what is readable.
        folder: the new generation's.
        header: what it is.
        weigh: where vectors come from that the source does not have in this form.

    Raises:
        DataError: the source is damaged; nothing is copied.
    """
    if not source.salvaged:
        problems = find_problems(source)
        if problems:
            raise DataError(problems[0])
    Generation.create(folder, header)
    target = Generation(folder, header, write=True, engine=source.engine)
    try:
        # Nobody reads the copy before it is complete: it needs no journal.
        target.database.execute("PRAGMA journal_mode = OFF")
        target.database.execute("PRAGMA synchronous = OFF")
        with target.transaction(write=True), content_errors(source.path):
            _copy_rows(source, target, weigh)
        target.database.execute("PRAGMA synchronous = FULL")
        target.database.execute("PRAGMA journal_mode = WAL")
        with target.transaction():
            target.refresh()
            for name, engine in target.engines.items():
                if target.rows.have(name):
                    engine.save(target.rows)
        copy_words(source, target)
    finally:
        target.close()
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def _copy_rows(source: Generation, target: Generation, weigh: Weigh | None) -> None:
    rows = source.rows
    flags = np.zeros(rows.count, np.uint8)
    for place, name in enumerate(rows.modalities):
        flags |= rows.visible(name).astype(np.uint8) << place
    by_id = database.rows_by_id(source.database)
    by_id = by_id[flags[by_id] > 0]
    first, step = spread(len(by_id), low=None, high=None)
    ranks = np.zeros(rows.count, np.uint64)
    ranks[by_id] = np.uint64(first) + np.uint64(step) * np.arange(len(by_id), dtype=np.uint64)
    at = 0
    for kind in np.unique(flags[by_id]).tolist():
        begun = False
        for batch in _items_of(source, flags, kind):
            if not begun:  # of a salvaged index, there may be no batch
                target.database.execute("INSERT INTO runs VALUES (?, ?)", (at, kind))
                begun = True
            taken = np.array([row for row, *_ in batch], np.int64)
            for name, log in target.codes.items():
                append_rows(target, log, _codes_of(source, name, taken, kind), at=at)
            for name, vectors in copied_vectors(source, target, batch, weigh):
                append_rows(target, target.vectors[name], vectors, at=at)
            append_rows(target, target.order, ranks[taken, None], at=at)
            target.database.executemany(
                "INSERT INTO items VALUES (?, ?, ?, ?)",
                ((at + place, *fields) for place, (_, *fields) in enumerate(batch)),
            )
            at += len(batch)
    target.database.execute("UPDATE state SET rows = ?, items = ?", (at, at))


def _items_of(
    source: Generation, flags: npt.NDArray[np.uint8], kind: int
) -> Iterator[list[tuple[int, str, str, int]]]:
    """Return the items with just these modalities, in the order of their ids, in batches."""
    found = source.database.execute("SELECT row, id, payload, crc32 FROM items ORDER BY id")
    most = max(1, min(_BATCH, _BATCH_BITS // source.header.bits))
    while batch := found.fetchmany(most):
        batch = [fields for fields in batch if flags[fields[0]] == kind]
        if source.salvaged:
            batch = [fields for fields in batch if item_checksum(*fields[1:3]) == fields[3]]
        if batch:
            yield batch


def _codes_of(
    source: Generation, name: str, rows: npt.NDArray[np.int64], kind: int
) -> npt.NDArray[np.uint8]:
    """Return codes of one modality, or of another one that the items have in its place."""
    modalities = source.rows.modalities
    if not kind >> modalities.index(name) & 1:
        name = next(other for place, other in enumerate(modalities) if kind >> place & 1)
    return source.gather(name, rows)
