"""A connection to Milvus by URI: a local file runs Milvus Lite, an address is a server's."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from proxyhash.errors import DataError, ProxyhashError, UsageError, require_extra

__all__ = ["Connection", "is_address", "shown_uri"]

TOKEN_VARIABLE = "PROXYHASH_MILVUS_TOKEN"  # noqa: S105 -- the name, not the token

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0

# Codes of Milvus that pass by themselves: not ready, unavailable, too many requests, rate limit,
# collection being loaded, channels, segments and nodes on their way to another place.
_PASSING = {1, 2, 4, 8, 101, 106, 500, 501, 503, 600, 601, 602, 901, 902}

_lite_lock = Lock()
_lite_users: dict[str, int] = {}
"""Open connections by file: one Milvus Lite process serves them all and stops after the last."""


def is_address(uri: str) -> bool:
    """Whether a URI is a server's address and not a path."""
    return uri.startswith(("http://", "https://"))


def shown_uri(uri: str) -> str:
    """Return a URI as it may be printed: without user, password and query."""
    if not is_address(uri):
        return uri
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")


class Connection:
    """A Milvus client that retries while the server is away or busy.

    Args:
        uri: "http(s)://host:19530", or the path of a file that ends in .db, for Milvus Lite.
        token: "user:password" or an API key; default `$PROXYHASH_MILVUS_TOKEN`. Never logged.
        patience: for how many seconds a call is retried, with waits that double from 0.1 to
            5 seconds; the longest that one call may take, too.

    Raises:
        UsageError: the URI is of neither kind, or the token is refused.
        ProxyhashError: nobody answers; the file is open in another process.
    """

    def __init__(self, uri: str, *, token: str | None = None, patience: float = 60.0) -> None:
        if patience <= 0:
            raise UsageError(f"patience is {patience}; it is a number of seconds above 0")
        self.shown = shown_uri(uri)
        self.lite = not is_address(uri)
        self.patience = patience
        self._uri = _checked_file(uri) if self.lite else uri
        self._token = token or os.environ.get(TOKEN_VARIABLE, "")
        self._milvus: Any = require_extra("pymilvus", extra="milvus", purpose="a Milvus index")
        # What it would log as an error reaches the caller as an exception.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        self._client: Any = None
        self._client = self._open()

    @property
    def types(self) -> Any:
        """Milvus' data types."""
        return self._milvus.DataType

    def call(self, name: str, /, *arguments: Any, **options: Any) -> Any:
        """Return what a method of `MilvusClient` returns; it may be called more than once.

        Raises:
            UsageError: the server refuses the token.
            ProxyhashError: Milvus refuses the call, or is away for longer than `patience`.
        """
        if self._client is None:
            raise UsageError(f"the index at {self.shown} is closed")
        return self._patiently(getattr(self._client, name), *arguments, **options)

    def new_schema(self, **options: Any) -> Any:
        """Return an empty schema of a collection."""
        return self._client.create_schema(auto_id=False, enable_dynamic_field=False, **options)

    def new_index(self, **options: Any) -> Any:
        """Return the parameters of one index on one field."""
        params = self._client.prepare_index_params()
        params.add_index(**options)
        return params

    def close(self) -> None:
        """Close the connection; Milvus Lite stops with its last one."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
            if self.lite:
                self._release_lite()

    def _open(self) -> Any:
        if not self.lite:
            return self._patiently(self._milvus.MilvusClient, self._uri, token=self._token)
        require_extra("milvus_lite", extra="milvus", purpose="a Milvus index in a local file")
        with _lite_lock:
            try:
                client = self._patiently(self._milvus.MilvusClient, self._uri)
            except ProxyhashError as error:
                raise ProxyhashError(
                    f"{self.shown} cannot be opened; Milvus Lite lets one process at a time "
                    "open a file, and does not read files of Milvus Lite 3"
                ) from error
            _lite_users[self._uri] = _lite_users.get(self._uri, 0) + 1
            return client

    def _release_lite(self) -> None:
        from milvus_lite.server_manager import server_manager_instance

        with _lite_lock:
            _lite_users[self._uri] -= 1
            if not _lite_users[self._uri]:
                del _lite_users[self._uri]
                server_manager_instance.release_server(self._uri)

    def _patiently(self, function: Any, /, *arguments: Any, **options: Any) -> Any:
        import grpc

        deadline = time.monotonic() + self.patience
        wait = _FIRST_WAIT
        while True:
            try:
                return function(*arguments, timeout=self.patience, **options)
            except (self._milvus.MilvusException, grpc.RpcError) as error:
                if not self._passes(error) or time.monotonic() + wait > deadline:
                    raise self._translated(error) from error
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    def _passes(self, error: Any) -> bool:
        import grpc

        code = error.code() if isinstance(error, grpc.RpcError) else error.code
        if isinstance(code, grpc.StatusCode):
            return code is grpc.StatusCode.UNAVAILABLE
        kinds = self._milvus.exceptions
        mistakes = (kinds.ParamError, kinds.SchemaNotReadyException, kinds.DataNotMatchException)
        return (
            code in _PASSING
            and not isinstance(error, (*mistakes, kinds.ConnectError))
            and (not isinstance(error, kinds.ConnectionConfigException))
        )

    def _translated(self, error: Any) -> ProxyhashError:
        message = " ".join(str(getattr(error, "message", "") or error).split())
        if self._token:
            message = message.replace(self._token, "***")
        if "auth" in message.lower() or "UNAUTHENTICATED" in str(error):
            return UsageError(
                f"{self.shown} refuses the token; set {TOKEN_VARIABLE} to 'user:password' "
                "or an API key"
            )
        return ProxyhashError(
            f"Milvus at {self.shown} says: {message[:400]}; what was acknowledged before is stored"
        )


def _checked_file(uri: str) -> str:
    path = Path(uri).expanduser().absolute()
    if "://" in uri or path.suffix != ".db":
        raise UsageError(
            f"{uri!r} is not a Milvus URI; give http://host:19530, or a file that ends in .db"
        )
    if not path.parent.is_dir():
        raise DataError(f"the folder {path.parent} is missing; create it first")
    return str(path.resolve())
