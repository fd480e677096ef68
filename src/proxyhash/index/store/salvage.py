"""Reading a damaged index: rows whose codes are lost are passed over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxyhash.index.store.database import rows_by_id
from proxyhash.index.store.row_log import BLOCK_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxyhash.index.store.generation import Generation
    from proxyhash.index.store.row_log import RowLog

__all__ = ["damaged_blocks", "hide_damage"]


def hide_damage(generation: Generation) -> None:
    """Take in what was committed, without the codes that are damaged; in a transaction.

    Labels are made anew from the ids. An item that loses its codes in all modalities is gone.
    """
    database = generation.database
    generation.salvaged = True
    (count,) = database.execute("SELECT rows FROM state").fetchone()
    damage = {name: list(damaged_blocks(generation, log)) for name, log in generation.codes.items()}
    for log in generation.logs:
        log.salvage(count)
    generation.refresh()
    for name, blocks in damage.items():
        for block in blocks:
            generation.rows.hide(name, block * BLOCK_ROWS, (block + 1) * BLOCK_ROWS)
    by_id = rows_by_id(database)
    generation.rows.order[by_id] = np.arange(1, len(by_id) + 1, dtype=np.uint64)


def damaged_blocks(generation: Generation, log: RowLog) -> Iterator[int]:
    """Return the numbers of blocks that are not what was written, or not there."""
    (count,) = generation.database.execute("SELECT rows FROM state").fetchone()
    stored = dict(
        generation.database.execute("SELECT block, crc32 FROM blocks WHERE log = ?", (log.name,))
    )
    found = dict(log.blocks(count))
    for block in range(-(-count // BLOCK_ROWS)):
        if block not in found or found[block] != stored.get(block):
            yield block
