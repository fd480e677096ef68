"""Bodies of requests: received up to a limit, decoded up to a depth, images kept in memory."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi.routing import APIRoute
from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from proxyhash.service.errors import ApiError, busy
from proxyhash.service.json_text import json_depth
from proxyhash.service.schemas import SearchParameters

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.datastructures import FormData
    from starlette.responses import Response
    from starlette.types import Message, Receive


__all__ = [
    "BoundedBody",
    "BoundedRoute",
    "Held",
    "Upload",
    "read_upload",
    "upload_body",
]

_OPTIONS_BYTES = 64_000
_CHARSETS = (b"utf-8", b"utf8", b"us-ascii", b"ascii")


class Held:
    """Bytes that the bodies of all requests under way have together.

    Args:
        most: bytes.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.bytes = 0

    def add(self, size: int) -> None:
        """Count more bytes.

        Raises:
            ApiError: 503, these are too many.
        """
        self.bytes += size
        if self.bytes > self.most:
            error = busy("overloaded: too many large bodies at once; try again in a second")
            error.headers = {**(error.headers or {}), "Connection": "close"}
            raise error


class BoundedBody:
    """The body of one request, of which no more than `most` bytes are taken.

    Once it is complete, the task that answers is cancelled when the client goes away.

    Args:
        receive: gives the parts.
        most: bytes.
        held: counts the bytes of all bodies until `stop`.

    Attributes:
        complete: whether all of it is here.
        gone: whether the client went away before its answer.
    """

    def __init__(self, receive: Receive, most: int, *, held: Held) -> None:
        self._receive = receive
        self._held = held
        self._counted = 0
        self._most = most
        self._taken = 0
        self._watch: asyncio.Task[None] | None = None
        self._stopped = False
        self.complete = False
        self.gone = False

    def check_announced(self, content_length: str | None) -> None:
        """Refuse a body that says itself that it is too large, before any of it is taken."""
        if content_length is not None and content_length.isdigit():
            self._check(int(content_length[:20]))

    async def receive(self) -> Message:
        """Return the next part, as ASGI's `receive`."""
        if self.complete:
            await asyncio.Event().wait()  # until the watch below cancels it
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.complete = self.gone = True
            return message
        size = len(message.get("body", b""))
        self._taken += size
        self._check(self._taken)
        self._counted += size
        self._held.add(size)
        if not message.get("more_body"):
            self.complete = True
            task = asyncio.current_task()
            assert task is not None
            self._watch = asyncio.create_task(self._watch_for_end(task))
        return message

    def stop(self) -> None:
        """Stop watching: the answer has been sent."""
        self._stopped = True
        self._held.bytes -= self._counted
        self._counted = 0
        if self._watch is not None:
            self._watch.cancel()

    async def _watch_for_end(self, answering: asyncio.Task[object]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._stopped:
            self.gone = True
            answering.cancel()

    def _check(self, size: int) -> None:
        if size > self._most:
            raise ApiError(
                413,
                "too_large",
                f"the body has more than {self._most:,} bytes; send less",
                headers={"Connection": "close"},
            )


class _BoundedRequest(Request):
    async def json(self) -> Any:
        return await self.app.state.service.json.decode(await self.body())


class BoundedRoute(APIRoute):
    """A route whose JSON body is refused where it nests too deep or is not plain JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of the route."""
        handler = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            return await handler(_BoundedRequest(request.scope, request.receive))

        return bounded


@dataclass(frozen=True)
class Upload:
    """An uploaded image file and the search parameters beside it."""

    image: bytes
    parameters: SearchParameters


class _InMemory(MultiPartParser):
    spool_max_size = 2**31  # the body is bounded already; nothing goes to the disk

    def close(self) -> None:
        """Release all files, including that of a part without an end."""
        for file in self._files_to_close_on_error:
            file.close()


async def read_upload(request: Request) -> Upload:
    """Return the image and the options of a multipart body.

    Raises:
        ApiError: 415, it is not a multipart body; 400 or 422, a part is missing, unknown or bad;
            413, the image is too large.
    """
    kind, parameters = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise ApiError(
            415,
            "unsupported_media",
            "unsupported media type; send multipart/form-data with the image as `image`",
        )
    # Python has codecs that take long, or whose output is not text.
    if parameters.get(b"charset", b"utf-8").lower() not in _CHARSETS:
        raise ApiError(
            415, "unsupported_media", "unsupported charset; send the form's texts as UTF-8"
        )
    parser = _InMemory(
        request.headers, request.stream(), max_files=1, max_fields=1, max_part_size=_OPTIONS_BYTES
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise ApiError(400, "invalid_form", f"the form cannot be read: {error.message}") from error
    try:
        content, options = await _parts(form)
    finally:
        await form.close()
        parser.close()
    limits = request.app.state.service.settings.limits
    if len(content) > limits.upload_bytes:
        raise ApiError(
            413,
            "too_large",
            f"the image has more than {limits.upload_bytes:,} bytes; send a smaller one",
        )
    return Upload(content, _options(options, depth=limits.json_depth))


def upload_body(*, options: bool) -> dict[str, Any]:
    """Return the OpenAPI description of such a body."""
    properties: dict[str, Any] = {"image": {"type": "string", "format": "binary"}}
    if options:
        properties["options"] = {
            "type": "string",
            "description": "JSON with target, k, radius, filter and explain, as in /v1/search.",
        }
    schema = {"type": "object", "required": ["image"], "properties": properties}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


async def _parts(form: FormData) -> tuple[bytes, str]:
    """Return the image and the options of a form.

    Raises:
        ApiError: 422, it has other parts.
    """
    image, options = form.get("image"), form.get("options", "{}")
    known = set(form) <= {"image", "options"}
    if not known or not isinstance(image, UploadFile) or not isinstance(options, str):
        raise ApiError(
            422,
            "invalid_request",
            "the form takes a file `image` and optionally a field `options` with JSON, and nothing "
            "else",
        )
    return await image.read(), options


def _options(text: str, *, depth: int) -> SearchParameters:
    if json_depth(text.encode(), most=depth) > depth:
        raise ApiError(422, "too_deep", f"the options nest more than {depth} deep")
    try:
        return SearchParameters.model_validate(json.loads(text or "{}"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "options"
        raise ApiError(422, "invalid_request", f"{where}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "invalid_json", "the field `options` is not JSON") from error
