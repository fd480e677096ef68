"""The places an index can be in, for tests that run over all of them."""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING, Any

from proxyhash.index import create_index, open_index
from tests.index import shuffled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxyhash.index import Index

__all__ = ["Backend", "in_folders", "in_memory", "in_milvus", "on_shuffling_servers"]

_names = count()


class Backend:
    """Makes indexes of one kind, one at a time.

    Args:
        new_uri: gives a URI at which nothing is.
    """

    index: Index

    def __init__(self, new_uri: Callable[[], str]) -> None:
        self._new_uri = new_uri
        self.uri = ""

    def create(self, **options: Any) -> Index:
        """Return an empty index."""
        self.uri = self._new_uri()
        self.index = create_index(self.uri, **options)
        return self.index

    def reopen(self) -> Index:
        """Close the index and return it as a new process would find it; nothing outlives memory."""
        if self.uri != "memory:":
            self.index.close()
            self.index = open_index(self.uri, write=True)
        return self.index

    def remove(self) -> None:
        """Let go of the index."""
        if self.index.supports("drop"):
            self.index.drop()
        self.index.close()


def in_memory() -> Backend:
    return Backend(lambda: "memory:")


def in_folders(parent: Path) -> Backend:
    return Backend(lambda: str(parent / f"store{next(_names)}"))


def in_milvus(uri: str) -> Backend:
    """Collections in a Milvus that is kept running by whoever makes this."""
    return Backend(lambda: f"{uri}#test_{os.getpid()}_{next(_names)}")


def on_shuffling_servers() -> Backend:
    return Backend(lambda: f"{shuffled.SCHEME}://{next(_names)}")
