"""An uploaded image, kept in memory, with the options beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from proxyhash.service.bodies import json_depth
from proxyhash.service.errors import ApiError
from proxyhash.service.schemas import SearchOptions

if TYPE_CHECKING:
    from starlette.datastructures import FormData
    from starlette.requests import Request

__all__ = ["Upload", "read_upload", "upload_body"]

_OPTIONS_BYTES = 64_000
_CHARSETS = (b"utf-8", b"utf8", b"us-ascii", b"ascii")


@dataclass(frozen=True)
class Upload:
    """An image file's bytes and how to search with it."""

    image: bytes
    options: SearchOptions


class _InMemory(MultiPartParser):
    spool_max_size = 2**31  # the body is bounded already; nothing goes to the disk

    def close(self) -> None:
        """Let go of all files, that of a part without an end among them."""
        for file in self._files_to_close_on_error:
            file.close()


async def read_upload(request: Request) -> Upload:
    """Return the image and the options of a multipart body.

    Raises:
        ApiError: 415, it is no multipart body; 400 or 422, a part is missing, unknown or bad; 413,
            the image is too large.
    """
    kind, parameters = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise ApiError(
            415, "unsupported_media", "send multipart/form-data with the image as `image`"
        )
    # Python knows codecs that take long, or that make what is no text.
    if parameters.get(b"charset", b"utf-8").lower() not in _CHARSETS:
        raise ApiError(415, "unsupported_media", "send the form's texts as UTF-8")
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
            "the form has a file `image` and, if need be, a field `options` with JSON, and "
            "nothing else",
        )
    return await image.read(), options


def _options(text: str, *, depth: int) -> SearchOptions:
    if json_depth(text.encode()) > depth:
        raise ApiError(422, "too_deep", f"the options nest more than {depth} deep")
    try:
        return SearchOptions.model_validate(json.loads(text or "{}"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "options"
        raise ApiError(422, "invalid_request", f"{where}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "invalid_json", "the field `options` is not JSON") from error
