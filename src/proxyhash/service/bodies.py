"""How a request's body comes in: never more than is allowed, and nested no deeper."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fastapi.routing import APIRoute
from starlette.requests import Request

from proxyhash.service.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.responses import Response

__all__ = ["BoundedRoute", "json_depth"]

_OPEN, _CLOSE, _QUOTE, _BACKSLASH = b"[{", b"]}", ord('"'), ord("\\")


def json_depth(body: bytes) -> int:
    """Return how deep lists and objects nest in a JSON text in UTF-8, without decoding it.

    Example:
        >>> json_depth(b'{"a": [1, "[[["]}')
        2
    """
    depth = deepest = 0
    inside = escaped = False
    for byte in body:
        if inside:
            if escaped:
                escaped = False
            elif byte == _BACKSLASH:
                escaped = True
            elif byte == _QUOTE:
                inside = False
        elif byte == _QUOTE:
            inside = True
        elif byte in _OPEN:
            depth += 1
            deepest = max(deepest, depth)
        elif byte in _CLOSE:
            depth -= 1
    return deepest


class _BoundedRequest(Request):
    async def json(self) -> Any:
        body = await self.body()
        most = self.app.state.service.settings.limits.json_depth
        # Counting brackets in C answers for nearly all bodies; only suspicious ones are walked.
        if body.count(b"[") + body.count(b"{") > most and json_depth(body) > most:
            raise ApiError(
                422, "too_deep", f"the body nests lists and objects more than {most} deep"
            )
        try:
            # Always as UTF-8: `json.loads` of bytes also takes UTF-16, in which the brackets above
            # can be hidden.
            value = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant)
            # A lone surrogate, written as "\ud800", is no text; nothing behind this could store it.
            json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise ApiError(
                400, "invalid_json", f"the body is not JSON that can be read: {error!s:.100}"
            ) from error
        return value


class BoundedRoute(APIRoute):
    """A route whose JSON body is decoded with care."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of the route."""
        handler = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            return await handler(_BoundedRequest(request.scope, request.receive))

        return bounded


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
