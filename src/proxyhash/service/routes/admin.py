"""Running the service."""

from __future__ import annotations

from starlette.requests import Request

from proxyhash.service.errors import FastJson
from proxyhash.service.routes.shared import errors, make_router, service_of
from proxyhash.service.schemas import Status

__all__ = ["router"]

router = make_router("admin")


@router.post("/admin/reload", response_model=Status, responses=errors(409))
async def reload(request: Request) -> FastJson:
    """Open the newest index, model and keys, and serve them; requests under way are not dropped."""
    await service_of(request).reload()
    return FastJson({"status": "reloaded"})
