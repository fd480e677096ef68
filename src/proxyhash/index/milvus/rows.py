"""Rows as Milvus takes and gives them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from proxyhash.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["BATCH_ROWS", "MAX_PAYLOAD", "Found", "Row", "batches", "check_payload"]

MAX_PAYLOAD = 65_536
"""Bytes of the longest JSON value that Milvus takes."""

BATCH_ROWS = 5_000
_BATCH_BYTES = 4 << 20  # far below the 64 MiB that a server takes in one message


@dataclass(frozen=True, slots=True)
class Row:
    """What a collection holds under one key.

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


@dataclass(frozen=True, slots=True)
class Found:
    """One answer of a search; the payload is None where it was not asked for."""

    key: str
    distance: int
    payload: dict[str, object] | None


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
    """Refuse a payload that Milvus has no room for.

    Raises:
        DataError: "the payload of 'x' has 70008 bytes; Milvus takes up to 65536 an item".
    """
    size = len(json.dumps(payload, ensure_ascii=False).encode())
    if size > MAX_PAYLOAD:
        raise DataError(
            f"the payload of {id_!r} has {size} bytes; Milvus takes up to {MAX_PAYLOAD} an item"
        )
