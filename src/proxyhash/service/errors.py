"""Error responses of the service: one shape for all of them.

`{"error": {"code", "message", "request_id", "retry"}}`, and `notes` where a question was not
understood. `retry` is whether the same request can succeed later: false where only another request
can, so that a page offers no "try again" there. It is true for 408, 409, 503, 504 and 507; a 503
says in `Retry-After` when.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from proxyhash.errors import DataError, ImageError, ProxyhashError, UsageError
from proxyhash.search.query import (
    NoEncoderError,
    NotFoundError,
    TooManyHitsError,
    UnknownWordsError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fastapi import FastAPI
    from starlette.requests import Request

    from proxyhash.search import Note

__all__ = ["ApiError", "FastJson", "add_handlers", "busy", "error_response", "refusing", "storing"]

_LOG = logging.getLogger("proxyhash.service")
_MESSAGE = 2000
_RETRY = frozenset({408, 409, 503, 504, 507})
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 503: "busy"}


class FastJson(Response):
    """JSON, written by pydantic's serializer."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the bytes of a JSON value."""
        return to_json(content)


class ApiError(HTTPException):
    """Error response, raised anywhere below a route.

    Args:
        status: HTTP status.
        code: a word that programs can compare.
        message: a sentence that says what to do.
        headers: more headers of the answer.
        notes: what was not understood, as an answer has it.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        notes: Sequence[Note] = (),
    ) -> None:
        if len(message) > _MESSAGE:  # it may quote what was sent
            message = message[: _MESSAGE - 4] + " ..."
        super().__init__(status, message, dict(headers or {}))
        self.code = code
        self.notes = [note.to_dict() for note in notes]


def busy(message: str, *, seconds: int = 1) -> ApiError:
    """Return the answer of a service that is overloaded."""
    return ApiError(503, "busy", message, headers={"Retry-After": str(seconds)})


@contextmanager
def refusing(*errors: type[ProxyhashError]) -> Iterator[None]:
    """Turn what is wrong with a request, said by the package's checks, into an answer.

    Wrap checks of the request in this and never the work on the index, unless `errors` are named:
    what goes wrong there is not the client's fault, and its message may name files of the server.

    Args:
        errors: which errors; default all that blame the request.

    Raises:
        ApiError: with the error's own sentence.
    """
    blaming = errors or (UsageError, DataError)
    try:
        yield
    except blaming as error:
        status, code = next(
            (answer for kind, answer in _REFUSALS.items() if isinstance(error, kind)),
            (422, "invalid_request"),
        )
        raise ApiError(status, code, str(error), notes=getattr(error, "notes", ())) from error


_REFUSALS: dict[type[ProxyhashError], tuple[int, str]] = {
    NotFoundError: (404, "not_found"),
    NoEncoderError: (422, "no_encoder"),
    TooManyHitsError: (422, "too_many_hits"),
    UnknownWordsError: (422, "unknown_words"),
    ImageError: (422, "bad_image"),
}


@contextmanager
def storing() -> Iterator[None]:
    """Turn what goes wrong while items are stored into an answer that names no files."""
    try:
        yield
    except (ProxyhashError, OSError) as error:
        _LOG.error("storing failed", extra={"error": str(error)})
        raise ApiError(
            507,
            "storage",
            "the change could not be stored and was not made; everything acknowledged before is "
            "kept: ask whoever runs the service to check its log and its disk, then try again",
        ) from error


def error_response(
    status: int,
    code: str,
    message: str,
    *,
    request_id: str,
    headers: Mapping[str, str] = {},
    notes: Sequence[Mapping[str, Any]] = (),
) -> FastJson:
    """Return an error as every client gets it; `notes` is left out where there are none."""
    retry = status in _RETRY
    error: dict[str, Any] = {
        "code": code, "message": message, "request_id": request_id, "retry": retry
    }  # fmt: skip
    if notes:
        error["notes"] = list(notes)
    return FastJson({"error": error}, status_code=status, headers=dict(headers))


def add_handlers(app: FastAPI) -> None:
    """Let the app answer its own errors, and those of FastAPI and Starlette, in one shape."""
    app.add_exception_handler(HTTPException, _answer)
    app.add_exception_handler(RequestValidationError, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    request_id = request.scope.get("request_id", "")
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return error_response(
                400, "invalid_json", "the body is not JSON; send one JSON object",
                request_id=request_id,
            )  # fmt: skip
        where = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
        what = first["msg"]
        if first["type"] == "extra_forbidden":
            what = "no such key; /openapi.json lists those of every request"
        return error_response(422, "invalid_request", f"{where}: {what}", request_id=request_id)
    assert isinstance(error, HTTPException)
    code = getattr(error, "code", None) or _CODES.get(error.status_code, "invalid_request")
    message = str(error.detail)
    if error.status_code == 404 and not isinstance(error, ApiError):
        message = "not found; /openapi.json lists every address"
    return error_response(
        error.status_code,
        code,
        message,
        request_id=request_id,
        headers=error.headers or {},
        notes=getattr(error, "notes", ()),
    )
