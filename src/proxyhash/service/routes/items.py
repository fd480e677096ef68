"""Items: get, store and delete them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import Path
from starlette.requests import Request

from proxyhash.codes import Codes, Weights
from proxyhash.errors import UsageError
from proxyhash.index.checks import check_items
from proxyhash.search import Query
from proxyhash.search.query import EncodedQuery
from proxyhash.service.errors import ApiError, FastJson, busy, refusing, storing
from proxyhash.service.routes import errors, gather, id_of, make_router, service_of, visible
from proxyhash.service.schemas import Deleted, Ids, Item, ItemsRequest, NewItem, Upserted
from proxyhash.service.service import Service
from proxyhash.service.snapshot import Snapshot

__all__ = ["ItemId", "router"]

router = make_router("items")

T = TypeVar("T")

ItemId = Annotated[
    str,
    Path(
        description="The item's id, percent-encoded. Ids such as .. that clients and proxies "
        "change in a path go into the parameter `id` instead, with nothing here."
    ),
]


@router.get("/items/{id:path}", response_model=Item, responses=errors(404, 422))
async def get(request: Request, id: ItemId) -> FastJson:  # noqa: A002 -- the index's word
    """Return a stored item."""
    service = service_of(request)
    async with service.lease() as snapshot:
        item = await snapshot.queues.item(id_of(request, id))
    return FastJson(
        {
            "id": item.id,
            "codes": {name: code.tobytes().hex() for name, code in item.codes.items()},
            "payload": visible(item.payload, service.settings.hidden),
        }
    )


@router.post("/items", response_model=Upserted, responses=errors(400, 422, 507))
async def upsert(request: Request, items: ItemsRequest) -> FastJson:
    """Store items, replacing those with the same ids; answered once they are durable."""
    service = _writable(request)
    async with service.lease() as snapshot:
        groups = await prepare_items(snapshot, items.items)
        await _change(service, snapshot, store_items, groups)
    return FastJson({"upserted": len(items.items)})


@router.post("/items/delete", response_model=Deleted, responses=errors(400, 422, 507))
async def delete_several(request: Request, ids: Ids) -> FastJson:
    """Delete items; ids that are not stored are ignored."""
    service = _writable(request)
    async with service.lease() as snapshot:
        return FastJson({"deleted": await _change(service, snapshot, delete_items, ids.ids)})


@router.delete("/items/{id:path}", response_model=Deleted, responses=errors(422, 507))
async def delete(request: Request, id: ItemId) -> FastJson:  # noqa: A002
    """Delete an item, if it is stored."""
    service = _writable(request)
    async with service.lease() as snapshot:
        return FastJson(
            {"deleted": await _change(service, snapshot, delete_items, [id_of(request, id)])}
        )


def _writable(request: Request) -> Service:
    service = service_of(request)
    if not service.settings.write:
        raise ApiError(
            403, "read_only", "this service is read-only; start it with --write to change items"
        )
    return service


async def _change(
    service: Service, snapshot: Snapshot, work: Callable[[Snapshot, Any], T], what: Any
) -> T:
    """Return what a change returns; note whether it could be stored."""
    try:
        async with service.turns.change():
            if service.snapshot.index is not snapshot.index:
                raise busy("the index was migrated to another model meanwhile; send it again")
            done = await snapshot.queues.change(work, snapshot, what)
    except ApiError as error:
        service.health.storing_failed |= error.code == "storage"
        raise
    service.health.storing_failed = False
    return done


@dataclass(frozen=True, eq=False)
class Group:
    """Items to store that have the same modalities and come encoded, or are encoded here.

    Attributes:
        ids: of n items.
        codes: theirs, by modality.
        payloads: theirs.
        weights: how sure of each bit texts are that were encoded here; None without.
    """

    ids: list[str]
    codes: dict[str, Codes]
    payloads: list[dict[str, object]]
    weights: dict[str, Weights] | None


async def prepare_items(snapshot: Snapshot, items: Sequence[NewItem]) -> list[Group]:
    """Return checked items by the modalities that they have; nothing is stored yet.

    Raises:
        ApiError: 422, an item cannot be stored; names it.
    """
    ids = [item.id for item in items]
    twice = next((id_ for id_ in ids if ids.count(id_) > 1), None) if ids else None
    if twice is not None:
        raise ApiError(422, "invalid_request", f"id {twice!r:.80} is given twice")
    codes, encoded = await _codes(snapshot, items)
    groups: dict[tuple[object, ...], list[int]] = {}
    for row, each in enumerate(codes):
        groups.setdefault((row in encoded, *sorted(each)), []).append(row)
    with refusing():
        return await snapshot.queues.run(
            lambda: [_group(snapshot, items, codes, encoded, rows) for rows in groups.values()]
        )


def store_items(snapshot: Snapshot, groups: Sequence[Group]) -> None:
    """Store prepared items; runs in a thread.

    Thumbnails stay only where the image's code does: another image has another thumbnail.
    """
    with storing():
        stale = [id_ for each in groups for id_ in _new_images(snapshot, each.ids, each.codes)]
        for each in groups:
            snapshot.index.upsert(
                each.ids, each.codes, payloads=each.payloads, weights=each.weights
            )
        if snapshot.thumbnails is not None and stale:
            snapshot.thumbnails.delete(stale)


def delete_items(snapshot: Snapshot, ids: Sequence[str]) -> int:
    """Delete items and their thumbnails; runs in a thread."""
    with storing():
        count = snapshot.index.delete(ids)
        if snapshot.thumbnails is not None and count:
            snapshot.thumbnails.delete(ids)
    return count


async def _codes(
    snapshot: Snapshot, items: Sequence[NewItem]
) -> tuple[list[dict[str, Codes]], dict[int, EncodedQuery]]:
    """Return the codes of each item, and by row the texts that came without and were encoded."""
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
        with refusing():
            codes.append(
                {name: Query(code=code).packed_code(bits=bits) for name, code in item.codes.items()}
            )
    rows = [
        row
        for row, item in enumerate(items)
        if item.text is not None and "text" not in item.codes and "text" in modalities
    ]
    with refusing():
        queries = [Query(text=items[row].text) for row in rows]
    encoded = await gather([snapshot.queues.encode(query) for query in queries])
    with refusing():
        for row, query in zip(rows, encoded, strict=True):
            query.check_known()
            codes[row]["text"] = query.code
    return codes, dict(zip(rows, encoded, strict=True))


def _group(
    snapshot: Snapshot,
    items: Sequence[NewItem],
    codes: Sequence[dict[str, Codes]],
    encoded: Mapping[int, EncodedQuery],
    rows: Sequence[int],
) -> Group:
    payloads = []
    for row in rows:
        item = items[row]
        payload = dict(item.payload)
        if item.text is not None:
            payload.setdefault("text", item.text)
        payloads.append(payload)
    names = list(codes[rows[0]])
    if not names:
        raise UsageError(f"item {items[rows[0]].id!r:.80} has neither codes nor a text to encode")
    checked = check_items(
        [items[row].id for row in rows],
        {name: np.stack([codes[row][name] for row in rows]) for name in names},
        payloads,
        bits=snapshot.index.bits,
        modalities=snapshot.index.modalities,
    )
    weights = None
    if rows[0] in encoded and snapshot.index.vectors and snapshot.model is not None:
        features = np.stack([np.asarray(encoded[row].features) for row in rows])
        weights = {"text": snapshot.model.query_weights(features, modality="text")}
    return Group(*checked, weights)


def _new_images(snapshot: Snapshot, ids: Sequence[str], codes: dict[str, Codes]) -> list[str]:
    """Return those of the ids whose image changes or goes away."""
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
