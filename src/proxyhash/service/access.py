"""Who may do what: one rule for all addresses, and what no rule opens stays closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyhash.service.errors import ApiError

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import Scope

    from proxyhash.service.keys import Key
    from proxyhash.service.service import Service

__all__ = ["check_access", "scope_of"]

_OPEN = ("/", "/healthz", "/readyz", "/openapi.json", "/favicon.ico")
_READING = ("GET", "HEAD")
_READING_POSTS = (
    "/v1/search",
    "/v1/search/image",
    "/v1/search/batch",
    "/v1/encode",
    "/v1/encode/image",
)


def scope_of(method: str, path: str) -> str | None:
    """Return which scope of key a request needs, "read" or "write", or None for none.

    Probes, the page and the description of the service hold nothing of the index. Whatever is not
    known to be reading counts as writing.
    """
    if method in _READING and (path in _OPEN or path.startswith("/web/")):
        return None
    if method in _READING or (method == "POST" and path in _READING_POSTS):
        return "read"
    return "write"


def check_access(service: Service, scope: Scope, headers: Headers) -> Key | None:
    """Return the key that a request shows, None where it needs none.

    Raises:
        ApiError: 421, the host is another's name; 401, no valid key; 403, it may not do this.
    """
    _check_host(service, headers)
    needed = scope_of(scope["method"], scope["path"])
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    key = None
    if scheme.lower() == "bearer" and service.keys is not None:
        key = service.keys.find(secret.strip())
    if needed is None or (needed == "read" and service.settings.reads_are_open):
        return key
    if key is None:
        raise ApiError(
            401,
            "unauthorized",
            "a key is needed: send the header `Authorization: Bearer KEY` with a valid key",
            headers={"WWW-Authenticate": "Bearer"},
        )
    if not key.allows(needed):
        raise ApiError(403, "forbidden", f"this key may {key.scope}, and this needs {needed}")
    return key


def _check_host(service: Service, headers: Headers) -> None:
    allowed = service.settings.hosts
    if not allowed:
        return
    host = headers.get("host", "")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    if name.lower() not in allowed:
        raise ApiError(
            421,
            "wrong_host",
            "the service does not go by this name; add it with --allow-host, or use the address "
            "that it printed",
        )
