"""Indexes by URI: a folder, a Milvus Lite file, or a Milvus server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyhash.errors import UsageError
from proxyhash.index.milvus.connection import is_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxyhash.index.base import Index

__all__ = ["create_index", "index_exists", "is_milvus", "open_index"]


def is_milvus(uri: str) -> bool:
    """Whether a URI is for Milvus: an http(s) address, or a file (not a folder) *.db."""
    path = uri.partition("#")[0]
    return is_address(uri) or (path.endswith(".db") and not Path(path).is_dir())


def open_index(
    uri: str,
    *,
    write: bool = False,
    bits: int | None = None,
    model: str | None = None,
    **milvus: Any,
) -> Index:
    """Return an index that exists.

    Args:
        uri: a folder made by `Store`; the path of a file *.db, for Milvus Lite; or the address
            "http(s)://host:19530" of a Milvus server. The latter two may name a collection
            behind a "#"; the default is "proxyhash".
        write: whether it will be changed. A folder has one writer at a time; Milvus has no such
            limit.
        bits: the code length it must have; None for any.
        model: the model fingerprint it must have; None for any.
        milvus: further arguments of `MilvusIndex.open`, such as `token`.

    Raises:
        UsageError: there is no such index, or options are given that are Milvus' alone.
        DataError: it is damaged, or of another code length or model.
    """
    if is_milvus(uri):
        from proxyhash.index.milvus import MilvusIndex

        place, options = _split(uri, milvus)
        return MilvusIndex.open(place, bits=bits, model=model, **options)
    from proxyhash.index.store import Store

    _refuse(uri, milvus)
    return Store.open(uri, write=write, bits=bits, model=model)


def create_index(
    uri: str, *, bits: int, model: str = "", modalities: Sequence[str], **milvus: Any
) -> Index:
    """Return a new, empty index, open for writing.

    Args:
        uri: as in `open_index`; nothing is there yet.
        bits: the code length.
        model: fingerprint of the model that makes the codes, "" when unknown.
        modalities: what an item may have a code of.
        milvus: further arguments of `MilvusIndex.create`, such as `engine`.

    Raises:
        UsageError: there is something already, or options are given that are Milvus' alone.
    """
    if is_milvus(uri):
        from proxyhash.index.milvus import MilvusIndex

        place, options = _split(uri, milvus)
        return MilvusIndex.create(place, bits=bits, model=model, modalities=modalities, **options)
    from proxyhash.index.store import Store

    _refuse(uri, milvus)
    return Store.create(uri, bits=bits, model=model, modalities=modalities)


def index_exists(uri: str, **milvus: Any) -> bool:
    """Whether there is an index at a URI; a server that cannot be reached is an error.

    Args:
        uri: as in `open_index`.
        milvus: `token`, `patience` and `collection`.
    """
    if not is_milvus(uri):
        path = Path(uri)
        return path.is_file() or (path.is_dir() and any(path.iterdir()))
    from proxyhash.index.milvus import MilvusIndex

    place, options = _split(uri, milvus)
    return MilvusIndex.exists(place, **options)


def _split(uri: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    place, _, collection = uri.partition("#")
    return place.rstrip("/"), ({"collection": collection} if collection else {}) | options


def _refuse(uri: str, options: dict[str, Any]) -> None:
    if options:
        raise UsageError(f"{', '.join(sorted(options))} is for Milvus; {uri} is a folder")
