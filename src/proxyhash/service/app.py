"""The ASGI app of a service, and the files of its page: read once, found by name in a table."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI
from starlette.requests import Request  # noqa: TC002 -- FastAPI reads the annotation
from starlette.responses import Response

from proxyhash import __version__
from proxyhash.service.errors import ApiError, add_handlers
from proxyhash.service.middleware import Surroundings
from proxyhash.service.routes import info, items, media, search
from proxyhash.service.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxyhash.service.settings import Settings

__all__ = ["create_app"]

_PAGE = APIRouter(include_in_schema=False)
_FOLDER = Path(__file__).with_name("web")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".json": "application/json",
}

_DESCRIPTION = """Searches items by the Hamming distance of their binary codes.

Keys go into the header `Authorization: Bearer KEY`. Every error is an object `error` with a `code`
to compare, a `message` to read and the `request_id` under which the log has it."""


def create_app(service: Service | Settings) -> FastAPI:
    """Return the app over a service; the index is closed when the app shuts down.

    Args:
        service: what is served, or the settings to open it with.

    Raises:
        ModelError: the model is not the one that made the codes of the index.
        DataError: the index or the keys cannot be read.
    """
    service = service if isinstance(service, Service) else Service(service)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(service.watch())
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await service.close()

    app = FastAPI(
        title="proxyhash",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,  # Swagger's page loads scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.service = service
    add_handlers(app)
    for router in (
        search.router, items.router, media.router, info.router, info.admin, info.probes, _PAGE,
    ):  # fmt: skip
        app.include_router(router)
    app.add_middleware(Surroundings, service=service)
    _secure(app)
    return app


def _secure(app: FastAPI) -> None:
    """Say in the OpenAPI description that keys are sent as bearer tokens."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        schema = describe()
        components = schema.setdefault("components", {})
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"key": []}]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


@dataclass(frozen=True)
class _File:
    content: bytes
    type: str
    tag: str


@_PAGE.get("/")
async def page(request: Request) -> Response:
    """Return the page."""
    return _respond(request, "index.html")


@_PAGE.get("/web/{name:path}")
async def file(request: Request, name: str) -> Response:
    """Return a file of the page."""
    return _respond(request, name)


def _respond(request: Request, name: str) -> Response:
    found = _files().get(name)
    if found is None:
        raise ApiError(404, "not_found", "the page has no such file")
    headers = {"ETag": found.tag}
    if found.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(found.content, media_type=found.type, headers=headers)


@cache
def _files() -> dict[str, _File]:
    files = {}
    for path in sorted(_FOLDER.rglob("*")):
        if path.is_file() and path.suffix in _TYPES:
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            name = path.relative_to(_FOLDER).as_posix()
            files[name] = _File(content, _TYPES[path.suffix], tag)
    return files
