"""Thumbnails beside an index: kept, replaced, removed, copied, and damage found."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from proxyhash.catalog.thumbnails import ThumbnailStore
from proxyhash.errors import DataError, ProxyhashError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> ThumbnailStore:
    store = ThumbnailStore.create(tmp_path / "thumbnails.sqlite3")
    store.put({"a": b"1", "b": b"2", "it's; --": b"3"})
    return store


def test_keeps_what_was_put(store: ThumbnailStore) -> None:
    assert [store.get(id_) for id_ in ("a", "b", "it's; --", "c")] == [b"1", b"2", b"3", None]
    store.put({"a": b"9", "c": b"4"})
    assert (store.get("a"), len(store)) == (b"9", 4)
    assert ThumbnailStore.create(store.path).get("a") == b"9"  # what is there stays
    store.delete(["a", "nope"])
    assert store.get("a") is None
    assert store.present(["a", "b", "zzz", *map(str, range(2000))]) == {"b"}


def test_compacting_removes_what_nothing_refers_to(store: ThumbnailStore) -> None:
    store.put({str(row): os.urandom(5000) for row in range(200)})
    before = store.path.stat().st_size
    assert store.compact(keep={"a", "b"}.__contains__) == 201
    assert len(store) == 2
    assert store.path.stat().st_size < before / 10


def test_a_copy_is_a_store_of_its_own(store: ThumbnailStore, tmp_path: Path) -> None:
    store.copy_to(tmp_path / "copy.sqlite3")
    store.delete(["a"])
    assert ThumbnailStore(tmp_path / "copy.sqlite3").get("a") == b"1"


def test_threads_share_it(store: ThumbnailStore) -> None:
    def write(name: str) -> None:
        for row in range(10):
            store.put({f"{name}{row}": b"x"})
            assert store.get(f"{name}{row}") == b"x"

    threads = [threading.Thread(target=write, args=(name,)) for name in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store) == 33


def test_damage_is_found(store: ThumbnailStore, tmp_path: Path) -> None:
    assert store.verify() is None
    with store.path.open("r+b") as file:
        file.write(b"no database")
    assert "is damaged" in (store.verify() or "")
    with pytest.raises(DataError, match=r"damaged .*delete it"):
        store.get("a")
    with pytest.raises(ProxyhashError, match="check disk space and permissions"):
        ThumbnailStore(tmp_path / "nowhere" / "x.sqlite3").get("a")
