"""Items as rows of Milvus and back: a row for each modality that an item has a code of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from proxyhash.errors import DataError
from proxyhash.index.hit import IndexItem
from proxyhash.index.milvus.keys import from_key, to_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from proxyhash.codes import Codes

__all__ = [
    "BATCH_ROWS",
    "MAX_PAYLOAD",
    "Row",
    "batches",
    "by_key",
    "check_payload",
    "to_item",
    "to_rows",
]

MAX_PAYLOAD = 65_536
"""Bytes of the longest JSON value that Milvus takes."""

BATCH_ROWS = 5_000
_BATCH_BYTES = 4 << 20  # far below the 64 MiB that a server takes in one message


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a collection.

    Attributes:
        key: the item's primary key.
        code: its packed code.
        counted: whether this row stands for the item where items are counted; an item with codes
            in several modalities has a row in several collections, and one of them counts.
        payload: the item's payload.
    """

    key: str
    code: bytes
    counted: bool
    payload: dict[str, object]

    @classmethod
    def read(cls, values: dict[str, Any]) -> Self:
        """Return the row out of an answer of `MilvusClient.query`."""
        (code,) = values["code"]
        return cls(values["id"], bytes(code), bool(values["counted"]), dict(values["payload"]))


def batches(rows: Iterable[Row]) -> Iterator[list[dict[str, object]]]:
    """Yield rows in the form of `MilvusClient.upsert`, as many as fit into one message."""
    batch: list[dict[str, object]] = []
    size = 0
    for row in rows:
        weight = len(row.key) + len(row.code) + len(json.dumps(row.payload))
        if batch and (len(batch) == BATCH_ROWS or size + weight > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(
            {"id": row.key, "code": row.code, "counted": row.counted, "payload": row.payload}
        )
        size += weight
    if batch:
        yield batch


def check_payload(id_: str, payload: dict[str, object]) -> None:
    """Refuse a payload that is too long for Milvus.

    Raises:
        DataError: "the payload of 'x' has 70008 bytes; Milvus takes up to 65536 per item".
    """
    size = len(json.dumps(payload, ensure_ascii=False).encode())
    if size > MAX_PAYLOAD:
        raise DataError(
            f"the payload of {id_!r} has {size} bytes; Milvus takes up to {MAX_PAYLOAD} per item"
        )


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
