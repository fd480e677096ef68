"""Verify an index against its checksums, and read a damaged one without what is lost."""

from __future__ import annotations

import sqlite3
from array import array
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.errors import DataError
from proxyhash.index.store.content import content_errors, read_state
from proxyhash.index.store.database import rows_by_id
from proxyhash.index.store.header import Header
from proxyhash.index.store.row_log import BLOCK_ROWS, NEXT_STEP
from proxyhash.index.store.vectors import find_vector_problems, vector_rows
from proxyhash.index.store.writing import item_checksum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from proxyhash.index.store.generation import Generation
    from proxyhash.index.store.row_log import RowLog

__all__ = ["find_header_problems", "find_problems", "hide_damage"]

MAX_NAMED = 20
_SALVAGED = 10_000_000
"""Rows that a salvaged index may count, whatever the size of its files."""


def find_problems(
    generation: Generation, *, report: Callable[[str], None] | None = None
) -> list[str]:
    """Return the problems found in a generation, one sentence each; called in a transaction.

    Args:
        generation: what is read, all of it.
        report: is told in sentences what was compared beside checksums.
    """
    problems: list[str] = []
    try:
        with content_errors(generation.path):
            problems += _database_problems(generation)
            problems += _log_problems(generation)
            problems += _item_problems(generation)
        if not problems:
            problems += find_vector_problems(generation)
        if not problems:  # a saved engine is compared with sound codes
            for name, engine in generation.engines.items():
                problems += engine.find_problems(
                    generation.rows, modality=name, report=report or (lambda _: None)
                )
    except DataError as error:
        problems.append(str(error))
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
            raise
        problems.append(f"{generation.path} is damaged ({error}); restore a snapshot")
    return problems


def find_header_problems(folder: Path) -> list[str]:
    """Return the problems found in the header of an index folder."""
    try:
        Header.load(folder)
    except DataError as error:
        return [str(error)]
    return []


def _database_problems(generation: Generation) -> Iterator[str]:
    for (found,) in generation.database.execute(f"PRAGMA integrity_check({MAX_NAMED})"):
        if found != "ok":
            yield f"{generation.path} is damaged ({found}); restore a snapshot"


def _log_problems(generation: Generation) -> Iterator[str]:
    for log in generation.logs:
        for block in _damaged_blocks(generation, log):
            first = block * BLOCK_ROWS
            last = min(first + BLOCK_ROWS, generation.rows.count) - 1
            yield f"{log.path}, rows {first} to {last}: the checksum does not match; {NEXT_STEP}"


def _item_problems(generation: Generation) -> Iterator[str]:
    rows = array("q")
    damaged = 0
    for row, id_, payload, stored in generation.database.execute(
        "SELECT row, id, payload, crc32 FROM items ORDER BY id"
    ):
        rows.append(row)
        if item_checksum(id_, payload) != stored:
            damaged += 1
            if damaged <= MAX_NAMED:
                yield f"{generation.path}, item {id_!r}: the checksum does not match"
    if damaged > MAX_NAMED:
        yield f"{generation.path}: {damaged - MAX_NAMED} more items whose checksums do not match"
    yield from _row_problems(generation, np.frombuffer(rows, np.int64))


def _row_problems(generation: Generation, rows: npt.NDArray[np.int64]) -> Iterator[str]:
    known = generation.rows
    path = generation.path
    if len(rows) != known.items:
        yield f"{path} holds {len(rows)} items, but counts {known.items}"
    alive = np.zeros(known.count, np.bool_)
    for name in known.modalities:
        alive |= known.visible(name)
    expected = np.zeros(known.count, np.bool_)
    if len(rows) and rows.max() >= known.count:
        yield f"{path} has an item in row {rows.max()}, but counts {known.count} rows"
        return
    expected[rows] = True
    wrong = np.flatnonzero(alive != expected)
    if len(wrong):
        yield f"{path}, row {wrong[0]}: the list of changes and the items differ"
    ranks = known.order[rows]
    unsorted = np.flatnonzero(ranks[1:] <= ranks[:-1])
    if len(unsorted):
        yield f"{generation.order.path}, row {rows[unsorted[0]]}: ranks are not in the ids' order"


def hide_damage(generation: Generation) -> None:
    """Load what was committed, without the codes that are damaged; in a transaction.

    Ranks are rebuilt from the ids. An item that loses its codes in all modalities is gone, one that
    loses its vector counts as sure of each bit.
    """
    with content_errors(generation.path):
        _hide_damage(generation)


def _hide_damage(generation: Generation) -> None:
    database = generation.database
    generation.salvaged = True
    _, count, _ = read_state(database, generation.path)
    there = max(log.whole_rows() for log in generation.logs)
    if count > max(_SALVAGED, 100 * there):
        raise DataError(
            f"{generation.path} is damaged (it counts {count} rows, and the files of codes hold "
            f"{there} at most); restore a snapshot"
        )
    damage = {
        name: list(_damaged_blocks(generation, log)) for name, log in generation.codes.items()
    }
    lost = {
        name: list(_damaged_blocks(generation, log)) for name, log in generation.vectors.items()
    }
    for log in generation.logs:
        log.salvage(count)
    for name, blocks in lost.items():
        for block in blocks:  # what is left is the code
            at = block * BLOCK_ROWS
            codes = generation.codes[name].read(at, min(at + BLOCK_ROWS, count))
            rows = vector_rows(generation.header, codes, None, count=len(codes))
            generation.vectors[name].replace_salvaged(at, rows)
    generation.refresh()
    for name, blocks in damage.items():
        for block in blocks:
            generation.rows.hide(name, block * BLOCK_ROWS, (block + 1) * BLOCK_ROWS)
    by_id = rows_by_id(database)
    generation.rows.order[by_id] = np.arange(1, len(by_id) + 1, dtype=np.uint64)


def _damaged_blocks(generation: Generation, log: RowLog) -> Iterator[int]:
    """Return the numbers of blocks that are not what was written, or not there."""
    _, count, _ = read_state(generation.database, generation.path)
    stored = dict(
        generation.database.execute("SELECT block, crc32 FROM blocks WHERE log = ?", (log.name,))
    )
    found = dict(log.blocks(count))
    for block in range(-(-count // BLOCK_ROWS)):
        if block not in found or found[block] != stored.get(block):
            yield block
