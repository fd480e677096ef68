"""Storing and deleting items on behalf of requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.errors import UsageError
from proxyhash.index.checks import check_items
from proxyhash.service.encoding import known_code
from proxyhash.service.errors import ApiError, refusing, storing
from proxyhash.service.searching import code_from_hex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxyhash.codes import Codes
    from proxyhash.service.schemas import NewItem
    from proxyhash.service.snapshot import Snapshot

__all__ = ["Group", "delete_items", "prepare_items", "store_items"]

Group = tuple[list[str], "dict[str, Codes]", list[dict[str, object]]]
"""Ids, codes by modality and payloads of items that have the same modalities."""


async def prepare_items(snapshot: Snapshot, items: Sequence[NewItem]) -> list[Group]:
    """Return checked items by the modalities that they have; nothing is stored yet.

    Raises:
        ApiError: 422, an item cannot be stored; names it.
    """
    ids = [item.id for item in items]
    twice = next((id_ for id_ in ids if ids.count(id_) > 1), None) if ids else None
    if twice is not None:
        raise ApiError(422, "invalid_request", f"id {twice!r:.80} is given twice")
    codes = await _codes(snapshot, items)
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, each in enumerate(codes):
        groups.setdefault(tuple(sorted(each)), []).append(row)
    return [_group(snapshot, items, codes, rows) for rows in groups.values()]


def store_items(snapshot: Snapshot, groups: Sequence[Group]) -> None:
    """Store prepared items; in a thread.

    Thumbnails stay only where the image's code does: another image has another thumbnail.
    """
    with storing():
        stale = [id_ for ids, codes, _ in groups for id_ in _new_images(snapshot, ids, codes)]
        for ids, codes, payloads in groups:
            snapshot.index.upsert(ids, codes, payloads=payloads)
        if snapshot.thumbnails is not None and stale:
            snapshot.thumbnails.delete(stale)


def delete_items(snapshot: Snapshot, ids: Sequence[str]) -> int:
    """Remove items and their thumbnails; in a thread."""
    with storing():
        count = snapshot.index.delete(ids)
        if snapshot.thumbnails is not None and count:
            snapshot.thumbnails.delete(ids)
    return count


async def _codes(snapshot: Snapshot, items: Sequence[NewItem]) -> list[dict[str, Codes]]:
    """Return the codes of each item, texts encoded where they come without."""
    bits, modalities = snapshot.index.bits, snapshot.index.modalities
    codes: list[dict[str, Codes]] = []
    for item in items:
        unknown = sorted(set(item.codes) - set(modalities))
        if unknown:
            raise ApiError(
                422,
                "invalid_request",
                f"item {item.id!r:.80} has a code of {unknown[0]!r:.40}; the index has "
                f"{' and '.join(modalities)}",
            )
        codes.append({name: code_from_hex(code, bits=bits) for name, code in item.codes.items()})
    rows = [
        row
        for row, item in enumerate(items)
        if item.text is not None and "text" not in item.codes and "text" in modalities
    ]
    texts = [items[row].text or "" for row in rows]
    tasks = [asyncio.ensure_future(snapshot.encoding.text(text)) for text in texts]
    try:
        found = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    for row, text, encoded in zip(rows, texts, found, strict=True):
        codes[row]["text"] = known_code(encoded, text)
    return codes


def _group(
    snapshot: Snapshot,
    items: Sequence[NewItem],
    codes: Sequence[dict[str, Codes]],
    rows: Sequence[int],
) -> Group:
    payloads = []
    for row in rows:
        item = items[row]
        payload = dict(item.payload)
        if item.text is not None:
            payload.setdefault("text", item.text)
        payloads.append(payload)
    with refusing():
        names = list(codes[rows[0]])
        if not names:
            raise UsageError(
                f"item {items[rows[0]].id!r:.80} has neither codes nor a text to encode"
            )
        return check_items(
            [items[row].id for row in rows],
            {name: np.stack([codes[row][name] for row in rows]) for name in names},
            payloads,
            bits=snapshot.index.bits,
            modalities=snapshot.index.modalities,
        )


def _new_images(snapshot: Snapshot, ids: Sequence[str], codes: dict[str, Codes]) -> list[str]:
    """Return those of the ids whose image is another from now on, or gone."""
    index = snapshot.index
    if snapshot.thumbnails is None:
        return []
    images = codes.get("image")
    changed = []
    for row, id_ in enumerate(ids):
        try:
            before = index.get(id_).codes.get("image")
        except UsageError:
            continue
        if images is None or before is None or (before != images[row]).any():
            changed.append(id_)
    return changed
