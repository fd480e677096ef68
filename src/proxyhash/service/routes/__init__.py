"""The addresses of the service, one module per subject; here is what all of them share."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote

from fastapi import APIRouter

from proxyhash.service.bodies import BoundedRoute
from proxyhash.service.schemas import ErrorAnswer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from starlette.requests import Request

    from proxyhash.service.service import Service

__all__ = [
    "address_of",
    "errors",
    "gather",
    "id_of",
    "log",
    "make_router",
    "service_of",
    "thumbnail_address",
    "visible",
]

T = TypeVar("T")

_PLAIN_ID = re.compile(r"(?!\.{1,2}$)[^\x00-\x1f\x7f/\\%]+")

_ALWAYS = (401, 403, 408, 413, 421, 503, 504)
_REFERENCE = {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}
_MEANINGS = {
    400: "The body cannot be read.",
    401: "A key is needed.",
    403: "The key may not do this, or the service is read-only.",
    404: "Not found.",
    408: "The body did not arrive in time.",
    409: "The reload failed; the service keeps what it has.",
    413: "The body is too large.",
    415: "Unsupported media type.",
    421: "The Host header names another server.",
    422: "The request is invalid; the message says why.",
    503: "Overloaded; try again after Retry-After.",
    504: "Timed out.",
    507: "The change could not be stored.",
}


def errors(*statuses: int, json: bool = True) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of the errors of a route.

    Args:
        statuses: those beside what every route can answer.
        json: whether the route's own answers are JSON, as its errors always are.
    """
    # FastAPI describes a model in the media type of the route; a reference says it outright.
    model = {"model": ErrorAnswer} if json else {"content": {"application/json": _REFERENCE}}
    return {
        status: model | {"description": _MEANINGS[status]}
        for status in sorted({*statuses, *_ALWAYS})
    }


def make_router(subject: str) -> APIRouter:
    """Return a router under /v1."""
    return APIRouter(prefix="/v1", tags=[subject], route_class=BoundedRoute)


def service_of(request: Request) -> Service:
    """Return the service that a request came to."""
    return cast("Service", request.app.state.service)


def address_of(kind: str, id_: str) -> str:
    """Return the address of what is stored under an id; `kind` is "items" or "thumbnails".

    Clients and proxies shorten paths such as a/../b, so what they would change is a parameter.
    """
    quoted = quote(id_, safe="")
    return f"/v1/{kind}/{quoted}" if _PLAIN_ID.fullmatch(id_) else f"/v1/{kind}/?id={quoted}"


def id_of(request: Request, path: str) -> str:
    """Return the id that a request names: the rest of its path, or its parameter `id`."""
    return path or request.query_params.get("id", "")


def visible(payload: Mapping[str, object], hidden: Sequence[str]) -> dict[str, object]:
    """Return a payload without the fields that the service hides."""
    return {key: value for key, value in payload.items() if key not in hidden}


def thumbnail_address(id_: str) -> str:
    """Return where an item's thumbnail is."""
    return address_of("thumbnails", id_)


def log(request: Request, **fields: Any) -> None:
    """Add fields to the request's log line."""
    request.scope.setdefault("log", {}).update(fields)


async def gather(work: list[Coroutine[Any, Any, T]]) -> list[T]:
    """Return the results of all work, done at the same time; the first error cancels the rest."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
