"""Indexes by URI: the registry of backends; open, create and find an index."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from proxyhash.errors import UsageError
from proxyhash.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxyhash.index.base import Index

__all__ = [
    "INDEXES",
    "Backend",
    "create_index",
    "index_exists",
    "open_index",
    "option_names",
    "register_index",
    "scheme_of",
]


class Backend(Protocol):
    """Class methods through which `open_index` and its siblings reach the indexes of one kind.

    Each takes the URI as the user wrote it, and further keyword arguments of its own.
    """

    def open(self, uri: Any, /, **options: Any) -> Index:
        """Return an index that exists; takes `write`, `bits` and `model`."""
        ...

    def create(self, uri: Any, /, **options: Any) -> Index:
        """Return a new index, open for writing; takes `bits`, `model` and `modalities`."""
        ...

    def exists(self, uri: Any, /, **options: Any) -> bool:
        """Whether there is an index to open, or anything else in its place."""
        ...


INDEXES: Registry[Backend] = Registry(
    "index scheme",
    group="proxyhash.indexes",
    modules=("proxyhash.index.*", "proxyhash.index.store", "proxyhash.index.milvus"),
)
"""Backends by URI scheme ("https") or by the ending of a path (".db")."""

B = TypeVar("B")


def register_index(*schemes: str) -> Callable[[B], B]:
    """Return a class decorator that registers a backend for URI schemes and endings of paths.

    Args:
        schemes: what stands before "://" in a URI, such as "https", or how the path of a file
            ends, such as ".db".
    """

    def decorate(backend: B) -> B:
        for scheme in schemes:
            INDEXES.register(scheme)(backend)
        return backend

    return decorate


def scheme_of(uri: str | None) -> str:
    """Return the name in `INDEXES` of the backend that a URI is for.

    Raises:
        UsageError: "index scheme is 'ftp'; it must be one of ...".

    Example:
        >>> scheme_of(None), scheme_of("photos.index"), scheme_of("https://host#photos")
        ('memory', 'file', 'https')
    """
    if uri is None or uri == "memory:":
        return "memory"
    scheme, there, _ = uri.partition("://")
    if there:
        INDEXES[scheme]
        return scheme
    path = Path(uri.partition("#")[0])
    return path.suffix if path.suffix in INDEXES and not path.is_dir() else "file"


def open_index(
    uri: str | os.PathLike[str] | None,
    *,
    write: bool = False,
    bits: int | None = None,
    model: str | None = None,
    **options: Any,
) -> Index:
    """Return an index that exists, or a new one in memory.

    Args:
        uri: a folder made by `Store`; the path of a file *.db, for Milvus Lite; or the address
            "http(s)://host:19530" of a Milvus server. The latter two may name a collection
            behind a "#"; the default is "proxyhash". None or "memory:" is a new index in memory.
            Other packages add schemes of their own; see `register_index`.
        write: whether it will be changed. A folder has one writer at a time; Milvus and an index
            in memory have no such limit.
        bits: the code length it must have; None for any. An index in memory needs one.
        model: the model fingerprint it must have; None for any.
        options: further arguments of the backend's own `open`, such as `token` of `MilvusIndex`, or
            `modalities` of an index in memory.

    Raises:
        UsageError: there is no such index, or the backend does not take an option.
        DataError: it is damaged, or of another code length or model.

    Example:
        >>> open_index(None, bits=64).info()["kind"]
        'memory'
    """
    uri = _plain(uri)
    backend = _backend(uri, "open", options)
    return backend.open(uri, write=write, bits=bits, model=model, **options)


def create_index(
    uri: str | os.PathLike[str] | None,
    *,
    bits: int,
    model: str = "",
    modalities: Sequence[str],
    **options: Any,
) -> Index:
    """Return a new, empty index, open for writing.

    Args:
        uri: as in `open_index`; nothing is there yet.
        bits: the code length.
        model: fingerprint of the model that makes the codes, "" when unknown.
        modalities: what an item may have a code of.
        options: further arguments of the backend's own `create`, such as `engine`.

    Raises:
        UsageError: there is something already, or the backend does not take an option.
    """
    uri = _plain(uri)
    backend = _backend(uri, "create", options)
    return backend.create(uri, bits=bits, model=model, modalities=modalities, **options)


def index_exists(uri: str | os.PathLike[str], **options: Any) -> bool:
    """Whether there is an index at a URI; a server that cannot be reached is an error.

    Args:
        uri: as in `open_index`.
        options: further arguments of the backend's own `exists`, such as `token`.
    """
    uri = os.fspath(uri)
    return _backend(uri, "exists", options).exists(uri, **options)


def option_names(uri: str | None, verb: str) -> frozenset[str]:
    """Return the names of the options that a backend takes beyond those of every index.

    Args:
        uri: as in `open_index`.
        verb: "open", "create" or "exists".
    """
    taken = inspect.signature(getattr(INDEXES[scheme_of(uri)], verb)).parameters.values()
    names = {one.name for one in taken if one.kind is inspect.Parameter.KEYWORD_ONLY}
    common = {"write", "bits", "model"} | ({"modalities"} if verb == "create" else set())
    return frozenset(names - common)


def _plain(uri: str | os.PathLike[str] | None) -> str | None:
    return None if uri is None else os.fspath(uri)


def _backend(uri: str | None, verb: str, options: dict[str, Any]) -> Backend:
    """Return the backend of a URI when it takes these options."""
    scheme, names = scheme_of(uri), option_names(uri, verb)
    if unknown := ", ".join(sorted(options.keys() - names)):
        raise UsageError(
            f"{unknown}: no such option to {verb} an index by {scheme!r}; "
            f"the options are {', '.join(sorted(names)) or 'none'}"
        )
    return INDEXES[scheme]
