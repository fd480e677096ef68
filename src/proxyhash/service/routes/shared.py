"""What the routes have in common: the service, and how errors are described."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from fastapi import APIRouter

from proxyhash.service.bodies import BoundedRoute
from proxyhash.service.schemas import ErrorAnswer

if TYPE_CHECKING:
    from starlette.requests import Request

    from proxyhash.service.service import Service

__all__ = ["errors", "log", "make_router", "service_of"]

_ALWAYS = (401, 403, 408, 413, 421, 503, 504)
_REFERENCE = {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}
_MEANINGS = {
    400: "The body cannot be read.",
    401: "A key is needed.",
    403: "The key may not do this, or the service is read-only.",
    404: "There is no such thing.",
    408: "The body did not arrive in time.",
    409: "The service keeps what it has.",
    413: "The body is too large.",
    415: "The body is of another kind.",
    421: "The service does not go by this name.",
    422: "The request cannot be used; the message says why.",
    503: "Too much waits; try again after Retry-After.",
    504: "No answer in time.",
    507: "It could not be stored.",
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


def log(request: Request, **fields: Any) -> None:
    """Add fields to the request's log line."""
    request.scope.setdefault("log", {}).update(fields)
