"""Writing the living rows of a generation into a fresh one, for compaction and snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxyhash.errors import DataError
from proxyhash.index.store.database import rows_by_id
from proxyhash.index.store.disk import sync
from proxyhash.index.store.generation import Generation
from proxyhash.index.store.id_order import spread
from proxyhash.index.store.verify import find_problems
from proxyhash.index.store.writing import append_rows, item_checksum

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from proxyhash.index.store.header import Header

__all__ = ["copy_generation"]

BATCH = 65_536


def copy_generation(source: Generation, folder: Path, header: Header) -> None:
    """Make a generation of the items of another, without dead rows and with engines saved.

    Rows are in the order of (modalities, id), so that a few runs describe who has which.

    Args:
        source: within a transaction, and up to date; where it was salvaged, what is readable.
        folder: the new generation's.
        header: what it is.

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
        with target.transaction(write=True):
            _copy_rows(source, target)
        target.database.execute("PRAGMA synchronous = FULL")
        target.database.execute("PRAGMA journal_mode = WAL")
        with target.transaction():
            target.refresh()
            for name, searcher in target.searchers.items():
                if target.rows.have(name):
                    searcher.save(target.rows)
    finally:
        target.close()
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def _copy_rows(source: Generation, target: Generation) -> None:
    rows = source.rows
    flags = np.zeros(rows.count, np.uint8)
    for place, name in enumerate(rows.modalities):
        flags |= rows.visible(name).astype(np.uint8) << place
    by_id = rows_by_id(source.database)
    by_id = by_id[flags[by_id] > 0]
    first, step = spread(len(by_id), low=None, high=None)
    labels = np.zeros(rows.count, np.uint64)
    labels[by_id] = np.uint64(first) + np.uint64(step) * np.arange(len(by_id), dtype=np.uint64)
    at = 0
    for kind in np.unique(flags[by_id]).tolist():
        target.database.execute("INSERT INTO runs VALUES (?, ?)", (at, kind))
        for batch in _items_of(source, flags, kind):
            taken = np.array([row for row, *_ in batch], np.int64)
            for name, log in target.codes.items():
                append_rows(target, log, _codes_of(source, name, taken, kind), at=at)
            append_rows(target, target.order, labels[taken, None], at=at)
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
    while batch := found.fetchmany(BATCH):
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
