"""Around every request: an id, a host check, a key, a time limit, security headers, a log line."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect

from proxyhash.service.bodies import BoundedBody
from proxyhash.service.errors import ApiError, error_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from proxyhash.service.keys import Key
    from proxyhash.service.service import Service

__all__ = ["Surroundings", "scope_of"]

_LOG = logging.getLogger("proxyhash.service")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
CLIENT_GONE = 499
"""The status that logs and metrics show where the client left before its answer; as in nginx."""

_ORIGIN = re.compile(r"https?://(([a-z0-9._-]{1,255}|\[[0-9a-f:.]{1,64}\])(?::[0-9]{1,5})?)")
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

_OPEN = ("/", "/healthz", "/readyz", "/openapi.json", "/favicon.ico")
_READING = ("GET", "HEAD")
_READING_POSTS = (
    "/v1/search",
    "/v1/search/image",
    "/v1/search/batch",
    "/v1/encode",
    "/v1/encode/image",
)

# Headers that tell browsers to trust no more than they must.
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_PAGE = _ALWAYS | {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}
_DATA = _ALWAYS | {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class Surroundings:
    """ASGI middleware around the whole app.

    Args:
        app: what answers.
        service: whose keys, limits and metrics count.
    """

    def __init__(self, app: ASGIApp, *, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await _Exchange(self.service, scope, receive, send).run(self.app)


class _Exchange:
    """One request and its answer."""

    def __init__(self, service: Service, scope: Scope, receive: Receive, send: Send) -> None:
        self.service = service
        self.scope = scope
        self.headers = Headers(scope=scope)
        self.body = BoundedBody(receive, self._most_bytes(), held=service.bodies)
        self._send = send
        self.status = 0
        self.key = ""
        self.start = time.perf_counter()
        given = self.headers.get("x-request-id", "")
        self.id = given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        scope["request_id"] = self.id
        self.seen = scope

    async def run(self, app: ASGIApp) -> None:
        self.service.metrics.under_way.inc()
        try:
            await self._guarded(app)
        finally:
            self.body.stop()
            self.service.metrics.under_way.dec()
            self._record()

    async def _guarded(self, app: ASGIApp) -> None:
        """Let the app answer, or answer for it."""
        limit = self.service.settings.limits.seconds
        try:
            key = check_access(self.service, self.scope, self.headers)
            self.key = key.name if key else ""
            check_coding(self.headers)
            self.body.check_announced(self.headers.get("content-length"))
            async with asyncio.timeout(limit):
                await app(self._as_get(), self.body.receive, self.send)
        except ApiError as error:
            await self._fail(error.status_code, error.code, str(error.detail), error.headers)
        except TimeoutError:
            if self.body.complete:
                message = f"timed out after {limit:g} s; ask for less or try again"
                await self._fail(504, "timeout", message)
            else:
                message = f"the body did not arrive within {limit:g} s; send less or faster"
                await self._fail(408, "timeout", message, {"Connection": "close"})
        except asyncio.CancelledError:
            if not self.body.gone:
                raise
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
            self.status = self.status or CLIENT_GONE
        except ClientDisconnect:  # while its body was read
            self.status = self.status or CLIENT_GONE
        except Exception:
            _LOG.exception("unexpected error", extra={"request_id": self.id})
            await self._fail(
                500, "internal", "internal error; the service's log has it under this request id"
            )

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.id
            for name, value in security_headers(self.scope["path"]).items():
                headers.setdefault(name, value)
        elif not message.get("more_body"):
            self.body.stop()
        if self.scope["method"] == "HEAD" and message.get("body"):
            message = {**message, "body": b""}
        await self._send(message)

    def _as_get(self) -> Scope:
        """Return the scope that the app sees: HEAD is answered as GET is, without the body."""
        if self.scope["method"] == "HEAD":
            self.seen = {**self.scope, "method": "GET"}
        return self.seen

    async def _fail(self, status: int, code: str, message: str, headers: Any = None) -> None:
        if self.status:  # the answer has begun; all that is left is to break it off
            return
        answer = error_response(
            status, code, message, request_id=self.id, headers=dict(headers or {})
        )
        await answer(self.scope, self.body.receive, self.send)

    def _most_bytes(self) -> int:
        limits = self.service.settings.limits
        if self.headers.get("content-type", "").lower().startswith("multipart/"):
            return limits.upload_bytes + 100_000  # the image and what surrounds it
        return limits.json_bytes

    def _record(self) -> None:
        seconds = time.perf_counter() - self.start
        route = getattr(self.seen.get("route"), "path", "(none)")
        method = self.scope["method"]
        method = method if method in _METHODS else "(other)"
        self.service.metrics.requests.labels(method, route, str(self.status)).inc()
        self.service.metrics.seconds.labels(route).observe(seconds)
        client = self.scope.get("client")
        extra = {
            "request_id": self.id,
            "method": method,
            "route": route,
            "status": self.status,
            "ms": round(1000 * seconds, 2),
            "client": client[0] if client else None,
            "key": self.key or None,
        } | self.seen.get("log", {})
        level = logging.ERROR if self.status >= 500 and self.status != 503 else logging.INFO
        _LOG.log(level, "request", extra=extra)


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
        ApiError: 421, the host is another's name; 401, no valid key; 403, it may not do this, or
            it is a page from elsewhere that asks where no key is needed.
    """
    _check_host(service, headers)
    needed = scope_of(scope["method"], scope["path"])
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    key = None
    if scheme.lower() == "bearer" and service.keys is not None:
        key = service.keys.find(secret.strip())
    if needed is None:
        return key
    if needed == "read" and service.settings.reads_are_open:
        if key is None:
            check_origin(service, headers)
        return key
    if key is None:
        raise ApiError(
            401,
            "unauthorized",
            "a key is needed: send the header `Authorization: Bearer KEY` with a valid key",
            headers={"WWW-Authenticate": "Bearer"},
        )
    if not key.allows(needed):
        raise ApiError(
            403, "forbidden", f"this key has scope {key.scope}; scope {needed} is needed"
        )
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
            "the Host header is not a name of this service; add it with --allow-host, or use the "
            "address that the service printed",
        )


def check_origin(service: Service, headers: Headers) -> None:
    """Refuse what a page from elsewhere asks, which needs no key: browsers send it without asking.

    Browsers tell by `Sec-Fetch-Site` who asks; those that do not, by `Origin`. Programs send
    neither.

    Raises:
        ApiError: 403, another page asks.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        ours = site in ("same-origin", "none")
    else:
        ours = all(
            _is_ours(service, origin, headers.get("host", ""))
            for origin in headers.getlist("origin")
        )
    if not ours:
        raise ApiError(
            403,
            "cross_origin",
            "a page from elsewhere may not ask this service; open its own page, or ask from a "
            "program",
        )


def _is_ours(service: Service, origin: str, host: str) -> bool:
    """Whether an origin is that of this service: the address asked, or a name given for it."""
    found = _ORIGIN.fullmatch(origin.lower())
    if found is None:
        return False
    address, name = found.groups()
    return address == host.lower() or name in service.settings.allowed_hosts


def check_coding(headers: Headers) -> None:
    """Refuse a compressed body, whose size says nothing about what it holds.

    Raises:
        ApiError: 415, it has a Content-Encoding.
    """
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise ApiError(
            415,
            "unsupported_media",
            "unsupported Content-Encoding; send the body as it is",
            headers={"Connection": "close"},
        )


def security_headers(path: str) -> dict[str, str]:
    """Return the headers of an answer; those of the page let it load its own files only."""
    return _PAGE if path == "/" or path.startswith("/web/") else _DATA
