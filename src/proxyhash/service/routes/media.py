"""A sample of the items to look at, their thumbnails, and their original images."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from proxyhash.service.errors import ApiError, FastJson
from proxyhash.service.routes import (
    errors,
    id_of,
    make_router,
    service_of,
    thumbnail_address,
    visible,
)
from proxyhash.service.routes.items import ItemId
from proxyhash.service.schemas import Sample
from proxyhash.service.service import Service

__all__ = ["router"]

router = make_router("items")

_UNCHANGED = {"description": "It has not changed."}
_JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}}},
    304: _UNCHANGED,
}
_IMAGE: dict[int | str, dict[str, Any]] = {200: {"content": {"image/*": {}}}, 304: _UNCHANGED}


@router.get("/sample", response_model=Sample, responses=errors(422))
async def sample(
    request: Request,
    count: Annotated[int, Query(ge=1, le=96, description="Number of items at most.")] = 24,
    seed: Annotated[int, Query(ge=0, lt=2**31, description="Other seeds give others.")] = 0,
) -> FastJson:
    """Return items from all over the index, those with a thumbnail where there are any."""
    service = service_of(request)
    async with service.lease() as snapshot:
        target, items, shown = await snapshot.queues.run(snapshot.sample, count, seed=seed)
    return FastJson(
        {
            "target": target,
            "items": [
                {
                    "id": item.id,
                    "payload": visible(item.payload, service.settings.hidden),
                    "thumbnail": thumbnail_address(item.id) if item.id in shown else None,
                }
                for item in items
            ],
        }
    )


@router.get(
    "/thumbnails/{id:path}",
    response_class=Response,
    responses=errors(404, 422, json=False) | _JPEG,
)
async def thumbnail(request: Request, id: ItemId) -> Response:  # noqa: A002
    """Return an item's thumbnail, a JPEG."""
    service, id = service_of(request), id_of(request, id)  # noqa: A001
    async with service.lease() as snapshot:
        thumbnails = snapshot.thumbnails
        jpeg = await snapshot.queues.run(thumbnails.get, id) if thumbnails else None
    if jpeg is None:
        raise ApiError(404, "not_found", f"item {id!r:.80} has no thumbnail in the index")
    tag = f'"{hashlib.sha256(jpeg).hexdigest()[:32]}"'
    headers = _kept(service, tag)
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(jpeg, media_type="image/jpeg", headers=headers)


@router.get(
    "/originals/{id:path}",
    response_class=Response,
    responses=errors(404, 422, json=False) | _IMAGE,
)
async def original(request: Request, id: ItemId) -> Response:  # noqa: A002
    """Return an item's original image, where the service was started with --originals."""
    service, id = service_of(request), id_of(request, id)  # noqa: A001
    if service.originals is None:
        raise ApiError(
            404, "not_found", "this service shows no originals; start it with --originals FOLDER"
        )
    async with service.lease() as snapshot:
        item = await snapshot.queues.item(id)
        found = await snapshot.queues.run(service.originals.open, item.payload.get("image"))
    if found is None:
        raise ApiError(404, "not_found", f"item {id!r:.80} has no original that can be shown")
    headers = _kept(service, found.tag)
    if found.tag in request.headers.get("if-none-match", ""):
        found.file.close()
        return Response(status_code=304, headers=headers)
    headers["Content-Length"] = str(found.size)
    return StreamingResponse(found.chunks(), media_type=found.type, headers=headers)


def _kept(service: Service, tag: str) -> dict[str, str]:
    """Return the headers by which a browser keeps an image for a day."""
    visibility = "public" if service.settings.reads_are_open else "private"
    return {"ETag": tag, "Cache-Control": f"{visibility}, max-age=86400"}
