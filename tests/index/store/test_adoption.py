"""One index takes over what another holds, and who has it open is told or goes on."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from proxyhash.errors import MigratedError, ProxyhashError, UsageError
from proxyhash.index.store import Store, adoption
from proxyhash.index.store.disk import BusyError

IDS = [f"i{row:03}" for row in range(300)]
CODES = np.random.default_rng(0).integers(0, 256, (300, 2), np.uint8)


def fill(folder, *, bits: int, model: str) -> None:
    """An index of the same items, whose codes begin alike."""
    with Store.create(folder, bits=bits, model=model, modalities=("image",)) as store:
        payloads = [{"model": model, "row": row} for row in range(300)]
        store.add(IDS, CODES[:, : bits // 8], payloads=payloads)
        store.compact()


@pytest.fixture
def index(tmp_path):
    fill(tmp_path / "x", bits=16, model="old")
    fill(tmp_path / "x" / "next", bits=8, model="new")
    return tmp_path / "x"


def brute(width: int, query: np.ndarray) -> list[tuple[str, int]]:
    bits = np.unpackbits(CODES[:, :width] ^ query[:width], axis=1).sum(axis=1).tolist()
    return sorted(zip(IDS, bits, strict=True), key=lambda pair: (pair[1], pair[0]))[:5]


def nearest(store: Store, query: np.ndarray) -> list[tuple[str, int]]:
    found = store.search(query[None, : store.bits // 8], k=5)[0]
    assert {hit.payload["model"] for hit in found} == {store.model}
    return [(hit.id, hit.distance) for hit in found]


def test_everything_is_of_the_other_afterwards(index) -> None:
    with Store.open(index, write=True) as store:
        created = store.info()["created"]
        store.adopt(index / "next")
        assert (store.bits, store.model, store.superseded) == (8, "new", False)
        assert nearest(store, CODES[3]) == brute(1, CODES[3])
        store.upsert(["new"], CODES[:1, :1])
        store.compact()
    shutil.rmtree(index / "next")
    with Store.open(index, model="new", bits=8) as store:
        assert (len(store), store.verify(), store.info()["created"]) == (301, [], created)
        assert store.info()["generation"] == 4
    with pytest.raises(ProxyhashError, match=r"model"):
        Store.open(index, model="old")


def test_a_pinned_reader_goes_on_with_what_it_has(index) -> None:
    with Store.open(index, pinned=True) as used, Store.open(index, pinned=True) as unused:
        wanted = nearest(used, CODES[3])
        assert (wanted, used.superseded) == (brute(2, CODES[3]), False)
        with Store.open(index, write=True) as store:
            store.adopt(index / "next")
            store.delete(IDS[:100])
            store.compact()
        for reader in (used, unused):  # its files have no names any more
            assert reader.superseded
            assert (reader.bits, reader.model, len(reader)) == (16, "old", 300)
            assert nearest(reader, CODES[3]) == wanted
            assert reader.get("i005").codes["image"].tolist() == CODES[5].tolist()
            assert len([item for some in reader.items(batch=7) for item in some]) == 300
            assert reader.count_distances(CODES[:1]).sum() == 300


def test_other_readers_are_told(index) -> None:
    with Store.open(index) as reader:
        nearest(reader, CODES[3])
        with Store.open(index, write=True) as store:
            store.adopt(index / "next")
        for ask in (lambda: nearest(reader, CODES[3]), lambda: len(reader), reader.info):
            with pytest.raises(MigratedError, match="holds codes of another model since it was"):
                ask()
        assert reader.superseded


def test_a_compaction_supersedes_nothing(index) -> None:
    with Store.open(index, pinned=True) as reader:
        with Store.open(index, write=True) as store:
            store.delete(IDS[:50])
            store.compact()
        assert (reader.superseded, len(reader)) == (False, 250)


@pytest.mark.parametrize("at", ["_put_header", "_link_files", "sync"])
def test_what_fails_leaves_the_old_index_and_can_be_tried_again(index, monkeypatch, at) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with Store.open(index, write=True) as store:
        with monkeypatch.context() as patch:
            patch.setattr(adoption, at, full)
            with pytest.raises(ProxyhashError, match="free disk space"):
                store.adopt(index / "next")
        assert (store.model, nearest(store, CODES[3])) == ("old", brute(2, CODES[3]))
        store.add(["more"], CODES[:1])
        store.adopt(index / "next")
        assert nearest(store, CODES[3]) == brute(1, CODES[3])


def test_it_works_where_files_have_one_name_each(index, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    with Store.open(index, write=True) as store:
        store.adopt(index / "next")
        assert store.verify() == []
        assert nearest(store, CODES[3]) == brute(1, CODES[3])


def test_what_was_adopted_is_not_opened_again(index) -> None:
    """Opened for writing, it would cut off what was appended to the same files."""
    with Store.open(index, write=True) as store:
        store.adopt(index / "next")
    with pytest.raises(ProxyhashError, match="not an index folder"):
        Store.open(index / "next", write=True)


def test_only_a_writer_adopts(index) -> None:
    with Store.open(index) as store, pytest.raises(UsageError, match="write=True"):
        store.adopt(index / "next")


def test_a_writer_can_make_way_and_write_again(index) -> None:
    with Store.open(index, write=True, pinned=True) as store:
        store.yield_writing()
        with Store.open(index, write=True) as other:
            other.add(["other"], CODES[:1])
            assert len(store) == 301
            with pytest.raises(UsageError, match="write=True"):
                store.delete(["other"])
            with pytest.raises(BusyError):
                store.claim_writing()
            assert len(store) == 301
        store.claim_writing()
        assert store.delete(["other"]) == 1
        store.yield_writing()
        with Store.open(index, write=True) as other:
            other.adopt(index / "next")
        with pytest.raises(MigratedError):
            store.claim_writing()
        assert nearest(store, CODES[3]) == brute(2, CODES[3])
        with Store.open(index, write=True) as other:  # the lock was not kept
            assert nearest(other, CODES[3]) == brute(1, CODES[3])
