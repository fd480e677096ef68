"""The store against a plain dict: what it keeps, finds and refuses."""

from __future__ import annotations

import random

import numpy as np
import pytest

from proxyhash.errors import DataError, ProxyhashError, UsageError
from proxyhash.index import Hit, Index
from proxyhash.index.store import Store

from .model import BITS, Model, random_batch, random_codes, stored


def codes_of(*values: int) -> np.ndarray:
    return np.array([[value] for value in values], np.uint8)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "index"


@pytest.fixture
def small(folder):
    """Three items with texts, one without an image."""
    with Store.create(folder, bits=8, model="abc") as store:
        store.add(
            ["b", "a"],
            {"image": codes_of(1, 0), "text": codes_of(3, 7)},
            payloads=[{"n": 1}, {"n": 2}],
        )
        store.add(["c"], {"text": codes_of(0)})
    return folder


def test_keeps_what_it_is_given(small) -> None:
    with Store.open(small) as store:
        index: Index = store
        assert (index.bits, index.model, index.modalities) == (8, "abc", ("image", "text"))
        assert len(index) == 3
        assert "a" in index
        assert "x" not in index
        assert 1 not in index
        item = index.get("a")
        assert {name: code.tolist() for name, code in item.codes.items()} == {
            "image": [0],
            "text": [7],
        }
        assert item.payload == {"n": 2}
        assert list(index.get("c").codes) == ["text"]
        assert [[item.id for item in batch] for batch in index.items(batch=2)] == [
            ["a", "b"],
            ["c"],
        ]
        with pytest.raises(UsageError, match="no item 'x' in the index"):
            index.get("x")


def test_finds_the_nearest_of_each_modality(small) -> None:
    with Store.open(small) as store:
        assert store.search(codes_of(0), k=5, modality="image") == [
            [Hit("a", 0, {"n": 2}), Hit("b", 1, {"n": 1})]
        ]
        assert store.search(codes_of(0, 7), radius=1, modality="text") == [
            [Hit("c", 0, {})],
            [Hit("a", 0, {"n": 2}), Hit("b", 1, {"n": 1})],
        ]


def test_an_index_without_items_finds_nothing(folder) -> None:
    with Store.create(folder, bits=8) as store:
        assert store.search(codes_of(1, 2), k=3, modality="text") == [[], []]
        assert list(store.items()) == []
        assert store.verify() == []


def test_takes_plain_codes_where_there_is_one_modality(folder) -> None:
    with Store.create(folder, bits=8, modalities=("text",)) as store:
        store.add(["a"], codes_of(5))
        store.add([], np.empty((0, 1), np.uint8))
        assert store.search(codes_of(5), k=1) == [[Hit("a", 0, {})]]


def test_upserts_and_deletes(small) -> None:
    with Store.open(small, write=True) as store:
        store.upsert(["a", "d"], {"image": codes_of(9, 8)}, payloads=[{"n": 3}, {}])
        assert store.delete(["b", "b", "nobody", "\ud800", 7]) == 1
        assert store.delete(["nobody"]) == 0
    with Store.open(small) as store:
        assert [item.id for batch in store.items() for item in batch] == ["a", "c", "d"]
        assert list(store.get("a").codes) == ["image"]
        assert store.search(codes_of(9), k=1, modality="image") == [[Hit("a", 0, {"n": 3})]]
        assert [hit.id for hit in store.search(codes_of(7), k=3, modality="text")[0]] == ["c"]
        assert store.verify() == []


def test_a_refused_batch_changes_nothing(small) -> None:
    with Store.open(small, write=True) as store:
        before = stored(store)
        with pytest.raises(DataError, match="id 'c' is already in the index"):
            store.add(["z", "c"], {"text": codes_of(1, 2)})
        with pytest.raises(DataError, match="is given twice"):
            store.upsert(["z", "z"], {"text": codes_of(1, 2)})
        assert stored(store) == before
        assert store.verify() == []


def test_refuses_another_width_or_model(small, tmp_path) -> None:
    with pytest.raises(DataError, match=r"holds codes of 8 bits, not 16; .*build another index"):
        Store.open(small, bits=16)
    with pytest.raises(DataError, match="holds codes of model abc, not xyz"):
        Store.open(small, model="xyz")
    Store.open(small, bits=8, model="abc").close()
    with pytest.raises(DataError, match=r"is not an index folder.*proxyhash index build"):
        Store.open(tmp_path)
    with pytest.raises(UsageError, match="exists already and is not empty"):
        Store.create(small, bits=8)


def test_reading_does_not_write(small) -> None:
    with Store.open(small) as store:
        with pytest.raises(UsageError, match="open it with write=True"):
            store.add(["z"], {"text": codes_of(1)})
        with pytest.raises(UsageError, match="open it with write=True"):
            store.compact()
    with pytest.raises(UsageError, match="is closed"):
        store.get("a")
    store.close()


def test_a_second_writer_is_refused_at_once(small) -> None:
    with (
        Store.open(small, write=True),
        pytest.raises(ProxyhashError, match=r"is being written by process [0-9]+; .* for reading"),
    ):
        Store.open(small, write=True)
    Store.open(small, write=True).close()


def test_readers_notice_changes_and_compaction(small) -> None:
    with Store.open(small) as reader, Store.open(small, write=True) as writer:
        assert len(reader) == 3
        writer.add(["d"], {"text": codes_of(1)})
        assert "d" in reader
        writer.delete(["a"])
        before = stored(reader)
        writer.compact()
        writer.add(["e"], {"text": codes_of(1)})
        assert stored(reader).keys() == before.keys() | {"e"}
        assert reader.info()["generation"] == 2
        assert writer.verify() == reader.verify() == []
    assert [path.name for path in small.glob("generation-*")] == ["generation-000002"]


def test_a_snapshot_is_an_index_of_its_own(small, tmp_path) -> None:
    with Store.open(small, write=True) as store:
        store.delete(["b"])
        store.snapshot(tmp_path / "copy")
        store.delete(["a"])
    with Store.open(tmp_path / "copy", write=True, bits=8, model="abc") as copy:
        assert [item.id for batch in copy.items() for item in batch] == ["a", "c"]
        assert copy.info()["deleted_rows"] == 0
        assert copy.verify() == []
        copy.add(["b"], {"text": codes_of(1)})
    with pytest.raises(UsageError, match="not empty"), Store.open(small) as store:
        store.snapshot(tmp_path / "copy")


@pytest.mark.parametrize("seed", range(25))
def test_agrees_with_a_dict_whatever_is_done(folder, seed) -> None:
    dice, model = random.Random(seed), Model()
    ids = [f"{dice.choice('äbc')}{number}" for number in range(40)]
    store = Store.create(folder, bits=BITS)
    for _ in range(40):
        action = dice.choice(("add", "add", "upsert", "delete", "reopen", "compact", "search"))
        batch = dice.sample(ids, dice.randrange(1, 8))
        codes, payloads = random_batch(dice, batch)
        if action == "add" and not model.items.keys() & set(batch):
            store.add(batch, codes, payloads=payloads)
            model.put(batch, codes, payloads)
        elif action == "upsert":
            store.upsert(batch, codes, payloads=payloads)
            model.put(batch, codes, payloads)
        elif action == "delete":
            assert store.delete(batch) == model.delete(batch)
        elif action == "reopen":
            store.close()
            store = Store.open(folder, write=True)
        elif action == "compact" and not dice.randrange(3):
            store.compact()
        elif action == "search":
            check_searches(store, model, dice)
    assert stored(store) == model.items
    assert len(store) == len(model.items)
    assert store.verify() == []
    store.close()


def check_searches(store, model, dice) -> None:
    for modality in ("image", "text"):
        query = random_codes(dice, 2)
        k, radius = dice.randrange(1, 12), dice.choice((None, None, 0, 2, 16))
        found = store.search(query, k=k, radius=radius, modality=modality)
        for hits, one in zip(found, query, strict=True):
            expected = model.search(one, modality=modality, k=k, radius=radius)
            assert [(hit.distance, hit.id) for hit in hits] == expected
            assert all(hit.payload == model.items[hit.id][1] for hit in hits)
