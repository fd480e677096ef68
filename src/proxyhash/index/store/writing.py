"""Write items into a generation and delete them: all of a call, or nothing.

Codes and ranks are appended to the row logs and flushed to the disk first. Then the database
commits, and with that the call has happened: a process that dies before leaves rows behind that
nobody counts.
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from proxyhash.errors import DataError
from proxyhash.index.store.content import content_errors
from proxyhash.index.store.id_order import Ranks
from proxyhash.index.store.row_log import BLOCK_ROWS, checksums
from proxyhash.index.store.row_table import flags_of
from proxyhash.index.store.vectors import vector_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxyhash.codes import Codes, Weights
    from proxyhash.index.store.generation import Generation
    from proxyhash.index.store.row_log import RowLog

__all__ = ["append_rows", "delete_items", "item_checksum", "put_items"]


def item_checksum(id_: object, payload: object) -> int:
    """Return the CRC-32 of an item's id and its payload's JSON, -1 where one is not a string."""
    if type(id_) is not str or type(payload) is not str:  # in a damaged database
        return -1
    return zlib.crc32(payload.encode(), zlib.crc32(id_.encode()))


def put_items(
    generation: Generation,
    ids: Sequence[str],
    codes: Mapping[str, Codes],
    payloads: Sequence[Mapping[str, object]],
    *,
    new: bool,
    weights: Mapping[str, Weights] | None = None,
) -> None:
    """Store checked items, in place of what is stored under their ids unless they must be new.

    Where vectors are kept, items without weights keep the vector of the same code, if that is
    stored under their ids, and else count as sure of each bit.

    Raises:
        DataError: "id 'x' is already in the index; ids must be unique".
    """
    if not ids:
        return
    texts = [json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in payloads]
    with generation.transaction(write=True), content_errors(generation.path):
        generation.refresh()
        database, rows = generation.database, generation.rows
        replaced = _look_up(generation, ids)
        if replaced and new:
            known = ids[min(replaced)]
            raise DataError(f"id {known!r} is already in the index; ids must be unique")
        ranks = Ranks(database, rows.order, len(ids))
        neighbors = _neighbors(generation, replaced)
        fields = [
            (rows.count + place, id_, text, item_checksum(id_, text))
            for place, (id_, text) in enumerate(zip(ids, texts, strict=True))
        ]
        database.executemany(
            "INSERT INTO items VALUES (?, ?, ?, ?)",
            (one for place, one in enumerate(fields) if place not in replaced),
        )
        ranks.place(*neighbors)
        for place, old in replaced.items():
            row, _, text, checksum = fields[place]
            database.execute(
                "UPDATE items SET row = ?, payload = ?, crc32 = ? WHERE row = ?",
                (row, text, checksum, old),
            )
            ranks.new[place] = ranks.of(old)
        _append(generation, codes, ranks)
        _append_vectors(generation, codes, weights or {}, replaced)
        _commit(
            generation,
            rows=rows.count + len(ids),
            items=rows.items + len(ids) - len(replaced),
            deleted=np.array(list(replaced.values()), "<i8"),
            moved=np.array(list(ranks.moved.items()), "<u8"),
        )


def delete_items(generation: Generation, ids: Sequence[str]) -> int:
    """Remove items, by ids that are all different, and return how many there were."""
    with generation.transaction(write=True), content_errors(generation.path):
        generation.refresh()
        found = list(_look_up(generation, ids).values())
        if found:
            generation.database.execute(
                "DELETE FROM items WHERE row IN"
                " (SELECT items.row FROM batch CROSS JOIN items ON items.id = batch.id)"
            )
            _commit(
                generation,
                rows=generation.rows.count,
                items=generation.rows.items - len(found),
                deleted=np.array(found, "<i8"),
                moved=np.empty(0, "<u8"),
            )
    return len(found)


def _look_up(generation: Generation, ids: Sequence[str]) -> dict[int, int]:
    """Return the rows of ids that are stored, by their place; all ids go into `batch`."""
    database = generation.database
    database.execute("DELETE FROM batch")
    database.executemany("INSERT INTO batch VALUES (?, ?)", enumerate(ids))
    found = database.execute(
        "SELECT place, row FROM batch CROSS JOIN items ON items.id = batch.id ORDER BY place"
    )
    return dict(found.fetchall())


def _neighbors(
    generation: Generation, replaced: Mapping[int, int]
) -> tuple[npt.NDArray[np.int64], ...]:
    """Return the new rows in the order of their ids, and the old rows around each."""
    database, first = generation.database, generation.rows.count
    database.executemany("DELETE FROM batch WHERE place = ?", ((place,) for place in replaced))
    last = database.execute("SELECT row, id FROM items ORDER BY id DESC LIMIT 1").fetchone()
    smallest = database.execute("SELECT min(id) FROM batch").fetchone()[0]
    if last is None or (smallest is not None and smallest > last[1]):
        found = database.execute("SELECT place FROM batch ORDER BY id").fetchall()
        rows = np.array(found, np.int64).reshape(-1) + first
        before = np.full(len(rows), -1 if last is None else last[0], np.int64)
        return rows, before, np.full(len(rows), -1, np.int64)
    found = database.execute(
        "SELECT place,"
        " (SELECT row FROM items WHERE items.id < batch.id ORDER BY items.id DESC LIMIT 1),"
        " (SELECT row FROM items WHERE items.id > batch.id ORDER BY items.id LIMIT 1)"
        " FROM batch ORDER BY id"
    ).fetchall()
    gaps = [(place + first, *(-1 if row is None else row for row in gap)) for place, *gap in found]
    rows, before, after = np.array(gaps, np.int64).reshape(-1, 3).T
    return rows, before, after


def _append(generation: Generation, codes: Mapping[str, Codes], ranks: Ranks) -> None:
    """Append codes and ranks to their logs, with the new checksums in the database."""
    # Where items lack a modality their rows hold another code, which no search is shown: a crowd
    # of equal codes, such as zeros, would slow the engines down.
    any_codes = next(iter(codes.values()))
    at = generation.rows.count
    for name, log in generation.codes.items():
        append_rows(generation, log, codes.get(name, any_codes), at=at)
    append_rows(generation, generation.order, ranks.new[:, None], at=at)
    flags, database = flags_of(codes, generation.rows.modalities), generation.database
    last = database.execute("SELECT modalities FROM runs ORDER BY first DESC LIMIT 1").fetchone()
    if last is None or last[0] != flags:
        database.execute("INSERT INTO runs VALUES (?, ?)", (at, flags))


def _append_vectors(
    generation: Generation,
    codes: Mapping[str, Codes],
    weights: Mapping[str, Weights],
    replaced: Mapping[int, int],
) -> None:
    """Append vectors to their logs; zeros where items lack the modality.

    Args:
        generation: where to.
        codes: of the items.
        weights: how sure of each bit they are, where that is known.
        replaced: the rows of items that are stored already, by their place.
    """
    places, old = np.array(list(replaced.items()), np.int64).reshape(-1, 2).T
    count = len(next(iter(codes.values())))
    for name, log in generation.vectors.items():
        rows = vector_rows(generation.header, codes.get(name), weights.get(name), count=count)
        if name in codes and name not in weights and len(old):
            same = (generation.gather(name, old) == codes[name][places]).all(axis=1)
            same &= generation.rows.visible(name)[old]
            rows[places[same]] = log.map(generation.rows.count)[old[same]]
        append_rows(generation, log, rows, at=generation.rows.count)


def append_rows(generation: Generation, log: RowLog, rows: npt.NDArray[Any], *, at: int) -> None:
    """Append rows to a log behind the first `at`, with their checksums in the database."""
    database = generation.database
    log.append(rows, at=at)
    before = database.execute(
        "SELECT crc32 FROM blocks WHERE log = ? AND block = ?", (log.name, at // BLOCK_ROWS)
    ).fetchone()
    changed = checksums(rows, at=at, before=before[0] if at % BLOCK_ROWS else 0)
    database.executemany(
        "INSERT OR REPLACE INTO blocks VALUES (?, ?, ?)",
        ((log.name, block, checksum) for block, checksum in changed),
    )


def _commit(
    generation: Generation,
    *,
    rows: int,
    items: int,
    deleted: npt.NDArray[np.int64],
    moved: npt.NDArray[np.uint64],
) -> None:
    database, change = generation.database, generation.rows.change + 1
    for kind, content in (("deleted", deleted), ("relabelled", moved)):
        if len(content):
            database.execute(
                "INSERT INTO changes VALUES (?, ?, ?)", (change, kind, content.tobytes())
            )
    database.execute("UPDATE state SET change = ?, rows = ?, items = ?", (change, rows, items))
