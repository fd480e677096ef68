"""Items as rows of Milvus and back: a row for each modality that an item has a code of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxyhash.index.hit import Hit, IndexItem
from proxyhash.index.milvus.keys import from_key, to_key
from proxyhash.index.milvus.rows import Row, check_payload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxyhash.codes import Codes
    from proxyhash.index.milvus.collection import Collection
    from proxyhash.index.milvus.rows import Found

__all__ = ["by_key", "to_hits", "to_item", "to_rows"]


def to_rows(
    ids: Sequence[str],
    codes: Mapping[str, Codes],
    payloads: Sequence[dict[str, object]],
    *,
    modalities: Sequence[str],
) -> tuple[list[str], dict[str, list[Row]]]:
    """Return the keys of items, and their rows by modality in the order they are to be written.

    Args:
        ids: n ids.
        codes: packed codes, uint8 (n, B), by modality.
        payloads: n payloads.
        modalities: those of the index; the first that the items have counts them, and is written
            last, so that an item is counted when it is complete.
    """
    for id_, payload in zip(ids, payloads, strict=True):
        check_payload(id_, payload)
    keys = [to_key(id_) for id_ in ids]
    there = [name for name in modalities if name in codes]
    return keys, {
        name: [
            Row(key, code.tobytes(), name == there[0], payload)
            for key, code, payload in zip(keys, codes[name], payloads, strict=True)
        ]
        for name in reversed(there)
    }


def by_key(entry: tuple[str, Row]) -> str:
    """Return what to sort and group rows by, out of pairs of a modality and its row."""
    return entry[1].key


def to_item(rows: Sequence[tuple[str, Row]]) -> IndexItem:
    """Return the item out of pairs of a modality and its row; there is one at least."""
    codes = {name: np.frombuffer(row.code, np.uint8).copy() for name, row in rows}
    _, first = rows[0]
    return IndexItem(from_key(first.key), codes, first.payload)


def to_hits(found: Sequence[Sequence[Found]], collection: Collection) -> list[list[Hit]]:
    """Return what a search gives back, with the payloads that it did not bring along.

    An item that was deleted since it was found is left out.
    """
    bare = {row.key for rows in found for row in rows if row.payload is None}
    payloads = collection.payloads(list(bare))
    return [
        [
            Hit(from_key(row.key), row.distance, dict(payload))
            for row in rows
            if (payload := payloads.get(row.key, row.payload)) is not None
        ]
        for rows in found
    ]
