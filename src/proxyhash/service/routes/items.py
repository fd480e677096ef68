"""Items: get, store, delete, and their thumbnails."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import Path
from starlette.requests import Request
from starlette.responses import Response

from proxyhash.service.errors import ApiError, FastJson
from proxyhash.service.routes.shared import errors, make_router, service_of
from proxyhash.service.schemas import Deleted, Ids, Item, ItemsRequest, Upserted
from proxyhash.service.searching import get_item, visible
from proxyhash.service.service import Service
from proxyhash.service.writing import delete_items, prepare_items, store_items

__all__ = ["router"]

router = make_router("items")

ItemId = Annotated[str, Path(description="The item's id; it may have slashes.")]


@router.get("/items/{id:path}", response_model=Item, responses=errors(404, 422))
async def get(request: Request, id: ItemId) -> FastJson:  # noqa: A002 -- the index's word
    """Return what is stored under an id."""
    service = service_of(request)
    async with service.lease() as snapshot:
        item = await snapshot.run(get_item, snapshot.index, id)
        return FastJson(
            {
                "id": item.id,
                "codes": {name: code.tobytes().hex() for name, code in item.codes.items()},
                "payload": visible(item.payload, service.settings),
            }
        )


@router.post("/items", response_model=Upserted, responses=errors(400, 422, 507))
async def upsert(request: Request, items: ItemsRequest) -> FastJson:
    """Store items in place of what is stored under their ids; answered once they are durable."""
    service = _writable(request, count=len(items.items))
    async with service.lease() as snapshot:
        groups = await prepare_items(snapshot, items.items)
        await snapshot.run(store_items, snapshot, groups)
    return FastJson({"upserted": len(items.items)})


@router.post("/items/delete", response_model=Deleted, responses=errors(400, 422, 507))
async def delete_several(request: Request, ids: Ids) -> FastJson:
    """Remove items; ids that are not stored are passed over."""
    service = _writable(request, count=len(ids.ids))
    async with service.lease() as snapshot:
        return FastJson({"deleted": await snapshot.run(delete_items, snapshot, ids.ids)})


@router.delete("/items/{id:path}", response_model=Deleted, responses=errors(422, 507))
async def delete(request: Request, id: ItemId) -> FastJson:  # noqa: A002
    """Remove an item, if it is there."""
    service = _writable(request, count=1)
    async with service.lease() as snapshot:
        return FastJson({"deleted": await snapshot.run(delete_items, snapshot, [id])})


@router.get(
    "/thumbnails/{id:path}",
    response_class=Response,
    responses=errors(404, 422, json=False)
    | {200: {"content": {"image/jpeg": {}}}, 304: {"description": "It has not changed."}},
)
async def thumbnail(request: Request, id: ItemId) -> Response:  # noqa: A002
    """Return the small image that the index keeps of an item."""
    service = service_of(request)
    async with service.lease() as snapshot:
        thumbnails = snapshot.thumbnails
        jpeg = await snapshot.run(thumbnails.get, id) if thumbnails else None
    if jpeg is None:
        raise ApiError(404, "not_found", f"the index keeps no thumbnail of {id!r:.80}")
    tag = f'"{hashlib.sha256(jpeg).hexdigest()[:32]}"'
    visibility = "public" if service.settings.reads_are_open else "private"
    headers = {"ETag": tag, "Cache-Control": f"{visibility}, max-age=86400"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(jpeg, media_type="image/jpeg", headers=headers)


def _writable(request: Request, *, count: int) -> Service:
    service = service_of(request)
    if not service.settings.write:
        raise ApiError(
            403, "read_only", "this service only reads; start it with --write to change items"
        )
    most = service.settings.limits.batch
    if count > most:
        raise ApiError(
            422, "invalid_request", f"{count} items are given; {most} are the most at once"
        )
    return service
