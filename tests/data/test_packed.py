"""Packed items against plain ones: every column, every item, and every way to read them."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.data import Collection, Item, gather, packed, read_collection, scan_manifest
from proxyhash.data.check import check_collection
from proxyhash.data.packed import PackedItems, as_items

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)


@st.composite
def item_lists(draw):
    """Items with distinct ids, with and without everything that they can have."""
    items = []
    for row, id_ in enumerate(draw(st.lists(words, max_size=300, unique=True)), start=1):
        labels = draw(st.lists(st.sampled_from("abcdü"), unique=True, max_size=3))
        items.append(
            Item(
                id=id_,
                sources=draw(st.dictionaries(st.sampled_from(["image", "text"]), words)),
                labels=tuple(labels),
                split=draw(st.sampled_from([None, None, "train"])),
                payload=draw(st.dictionaries(words, st.none() | st.integers() | words, max_size=2)),
                row=row,
                probabilities=draw(st.sampled_from([{}, {"a": 0.1 + 0.2}])),
            )
        )
    return items


@given(item_lists(), st.randoms())
def test_packed_items_are_the_items(items, random):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "_BLOCK", 3)
        found = PackedItems(items)
        assert (len(found), [*found]) == (len(items), items)
        places = [random.randrange(-len(items), len(items)) for _ in items]
        assert [found[place] for place in places] == [items[place] for place in places]
        assert found[2:9:2] == tuple(items[2:9:2])
        assert found == tuple(items)
        assert pickle.loads(pickle.dumps(found)) == found


@given(item_lists())
def test_a_collection_of_packed_items_has_the_same_columns(items):
    if not items:
        return
    plain = Collection.of(Path(packed.__file__), items)
    large = Collection.of(Path(packed.__file__), PackedItems(items))
    assert large == plain
    assert large.ids == plain.ids
    assert large.classes == plain.classes
    assert large.modalities == plain.modalities
    assert large.estimated == plain.estimated
    assert large.names_splits == plain.names_splits
    assert large.fingerprint == plain.fingerprint
    assert (large.labels == plain.labels).all()
    assert (large.targets == plain.targets).all()
    for name in ("image", "text"):
        assert (large.has(name) == plain.has(name)).all()
        assert [*large.sources(name)] == [*plain.sources(name)]
        assert large.file_sizes("image") == plain.file_sizes("image")


def test_an_item_is_replaced_with_all_its_columns():
    items = [Item(id=id_, sources={"text": id_}, labels=("a",)) for id_ in "xyz"]
    found = PackedItems(items)
    found[1] = Item(id="y", sources={"image": "y"}, labels=("b", "a"), probabilities={"a": 1.0})
    assert found[1].labels == ("b", "a")
    assert found.sources(1) == {"image": "y"}
    assert found.has("image").tolist() == [False, True, False]
    assert found.multi_hot(("a", "b")).tolist() == [[True, False], [True, True], [True, False]]
    assert found.estimated == 1


def test_only_many_items_are_packed(monkeypatch):
    monkeypatch.setattr(packed, "PACK_ABOVE", 3)
    items = [Item(id=str(number), sources={}, labels=()) for number in range(4)]
    assert as_items(items[:3]) == tuple(items[:3])
    assert isinstance(as_items(iter(items)), PackedItems)
    assert [*as_items(iter(items))] == items


@pytest.fixture
def manifest(tmp_path):
    """300 rows with duplicates, bad rows and files; images of which every tenth is missing."""
    rows = []
    for number in range(300):
        (tmp_path / f"{number}.txt").write_text("x")
        rows.append({"id": number % 290, "image": f"ü{number}.png", "labels": [f"c{number % 7}"]})
    rows[13]["id"] = ""
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_large_manifest_is_read_as_a_small_one(manifest, monkeypatch):
    plain, report = scan_manifest(manifest), check_collection(manifest).to_dict()
    for module in (gather, packed):
        monkeypatch.setattr(module, "PACK_ABOVE", 20)
    large = scan_manifest(manifest)
    assert isinstance(large.items, PackedItems)
    assert large == plain
    assert len(large.duplicates) == 10
    assert check_collection(manifest).to_dict() == report
    skipped = read_collection(manifest, on_bad_item="skip")
    assert (len(skipped), skipped.skipped) == (289, 11)


def test_rows_about_one_image_are_joined_in_a_large_table(tmp_path, monkeypatch):
    path = tmp_path / "captions.csv"
    rows = "".join(f"{row % 40}.jpg,text {row},l{row}\n" for row in range(120))
    path.write_text("image,caption,label\n" + rows)
    plain = read_collection(path)
    for module in (gather, packed):
        monkeypatch.setattr(module, "PACK_ABOVE", 7)
    large = read_collection(path)
    assert isinstance(large.items, PackedItems)
    assert large.items[3].sources["text"] == "text 3 text 43 text 83"
    assert large == plain
    assert (large.labels == plain.labels).all()


def test_an_item_takes_little_memory_and_threads_may_ask_at_once():
    count = 20_000
    made = (
        Item(
            id=f"item{number:08d}",
            sources={"image": f"images/{number:08d}.jpg", "text": f"two dogs and {number} cats"},
            labels=(f"c{number % 50}", f"c{number % 49}"),
            row=number,
        )
        for number in range(count)
    )
    tracemalloc.start()
    found = PackedItems(made)
    size = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    assert size < 150  # bytes per item, the id of 61 included
    places = np.random.default_rng(0).integers(0, count, 400).tolist()
    with ThreadPoolExecutor(4) as pool:
        assert [item.row for item in pool.map(found.__getitem__, places)] == places
