"""The places an index can be in, for tests that run over all of them."""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from proxyhash.index.memory import MemoryIndex
from proxyhash.index.milvus import MilvusIndex
from proxyhash.index.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.index import Index

__all__ = ["Backend", "InMemory", "InMilvus", "InStore"]

_names = count()


class Backend(Protocol):
    """Makes indexes of one kind, one at a time."""

    def create(self, **options: Any) -> Index:
        """Return an empty index."""

    def reopen(self) -> Index:
        """Close the index and return it as a new process would find it."""

    def remove(self) -> None:
        """Let go of the index."""


class InMemory:
    """Indexes in memory, which nothing outlives."""

    index: MemoryIndex

    def create(self, **options: Any) -> Index:
        self.index = MemoryIndex(**options)
        return self.index

    def reopen(self) -> Index:
        return self.index

    def remove(self) -> None:
        self.index.close()


class InStore:
    """Index folders."""

    index: Store

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, **options: Any) -> Index:
        self.index = Store.create(self._folder / f"store{next(_names)}", **options)
        return self.index

    def reopen(self) -> Index:
        self.index.close()
        self.index = Store.open(self.index.folder, write=True)
        return self.index

    def remove(self) -> None:
        self.index.close()


class InMilvus:
    """Collections in a Milvus that is kept running by whoever makes this."""

    index: MilvusIndex

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def create(self, **options: Any) -> Index:
        name = f"test_{os.getpid()}_{next(_names)}"
        self.index = MilvusIndex.create(self._uri, collection=name, **options)
        return self.index

    def reopen(self) -> Index:
        self.index.close()
        self.index = MilvusIndex.open(self._uri, collection=self.index.name)
        return self.index

    def remove(self) -> None:
        self.index.drop()
