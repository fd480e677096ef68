"""The page: files of the package, read once, found by name in a table."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from proxyhash.service.errors import ApiError

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_FOLDER = Path(__file__).parents[1] / "web"
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


@dataclass(frozen=True)
class _File:
    content: bytes
    type: str
    tag: str


@router.get("/")
async def page(request: Request) -> Response:
    """Return the page."""
    return _respond(request, "index.html")


@router.get("/web/{name:path}")
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
