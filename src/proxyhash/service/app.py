"""The ASGI app of a service."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from proxyhash import __version__
from proxyhash.service.errors import add_handlers
from proxyhash.service.middleware import Surroundings
from proxyhash.service.routes import info, items, page, search
from proxyhash.service.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxyhash.service.settings import Settings

__all__ = ["create_app"]

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
        yield
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
        search.router, items.router, info.router, info.admin, info.probes, page.router,
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
