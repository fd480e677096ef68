"""The word index of a catalog follows what happens to the items."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.catalog.manage import (
    compact_index,
    copy_index,
    delete_items,
    describe_index,
    index_words,
    snapshot_index,
    verify_index,
)
from proxyhash.errors import UsageError
from proxyhash.index.second_look import SecondLook
from proxyhash.index.store import Store
from proxyhash.index.words import WordQuery
from proxyhash.progress import silent

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = {"a": "red kayak XJ-900", "b": "green tent", "c": "red tent"}


def put(folder: Path, texts: dict[str, str]) -> None:
    codes = np.arange(len(texts), dtype=np.uint8)[:, None]
    with Store.open(folder, write=True) as store:
        store.upsert(
            list(texts),
            {"image": codes, "text": codes},
            payloads=[{"text": text, "sku": f"s{id_}"} for id_, text in texts.items()],
        )


@pytest.fixture
def index(tmp_path: Path) -> Path:
    Store.create(tmp_path / "i", bits=8, model="m1").close()
    put(tmp_path / "i", TEXTS)
    return tmp_path / "i"


def found(folder: Path, text: str) -> list[str]:
    with Store.open(folder) as store:
        query = [WordQuery.of(text, weight=1.0)]
        hits = store.search_words(np.zeros((1, 1), np.uint8), query, k=9, modality="image")
        return sorted(hit.id for hit in hits[0])


def test_one_command_fills_an_index_that_has_none(index: Path) -> None:
    assert describe_index(str(index))["words"] is False
    assert index_words(str(index)) == 3
    assert describe_index(str(index))["words"] is True
    assert found(index, "tent") == ["b", "c"]
    delete_items(str(index), ["b"], track=silent)
    put(index, {"c": "blue tent", "d": "tent"})
    assert found(index, "tent") == ["c", "d"]
    assert found(index, "red") == ["a"]
    compact_index(str(index))
    assert found(index, "tent") == ["c", "d"]
    assert verify_index(str(index)) == []
    assert index_words(str(index), fields=["sku"]) == 3
    assert describe_index(str(index))["word_fields"] == "sku"
    assert (found(index, "tent"), found(index, "sd")) == ([], ["d"])


def test_copies_and_snapshots_have_words_if_the_index_has(index: Path, tmp_path: Path) -> None:
    copy_index(str(index), str(tmp_path / "plain"), track=silent)
    assert describe_index(str(tmp_path / "plain"))["words"] is False
    index_words(str(index), fields=["text"])
    copy_index(str(index), str(tmp_path / "copy"), track=silent)
    snapshot_index(str(index), tmp_path / "snapshot")
    for folder in (tmp_path / "copy", tmp_path / "snapshot"):
        assert describe_index(str(folder))["word_fields"] == "text"
        assert found(folder, "xj-900") == ["a"]
        assert verify_index(str(folder)) == []
        put(folder, {"e": "xj-900"})
        assert found(folder, "xj-900") == ["a", "e"]


def test_another_index_takes_its_words_with_it(index: Path, tmp_path: Path) -> None:
    index_words(str(index))
    shutil.copytree(index, tmp_path / "new")
    put(tmp_path / "new", {"a": "yellow kayak", "z": "zebra"})
    with Store.open(index) as reader, Store.open(index, write=True) as store:
        assert found(index, "zebra") == []
        store.adopt(tmp_path / "new")
        assert found(index, "zebra yellow") == ["a", "z"]
        query = [WordQuery.of("zebra", weight=1.0)]
        hits = reader.search_words(np.zeros((1, 1), np.uint8), query, k=1, modality="image")
        assert [hit.id for hit in hits[0]] == ["z"]
        put_more = {"y": "zebra"}
        store.upsert(
            ["y"], {"image": np.zeros((1, 1), np.uint8)}, payloads=[{"text": put_more["y"]}]
        )
        assert found(index, "zebra") == ["y", "z"]
    assert verify_index(str(index)) == []


def test_a_damaged_word_index_is_named_and_left_out_of_copies(
    index: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index_words(str(index))
    (path,) = index.glob("generation-*/words-*.sqlite")
    path.write_bytes(b"x" * 5000)
    problem = describe_index(str(index))["words_problem"]
    assert "`proxyhash index words" in str(problem)
    assert any("index words" in one for one in verify_index(str(index)))
    snapshot_index(str(index), tmp_path / "snapshot")
    assert describe_index(str(tmp_path / "snapshot"))["words"] is False
    assert "the word index is left out" in caplog.text
    index_words(str(index))
    assert verify_index(str(index)) == []


def test_fields_that_no_item_has_are_refused(index: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no item of .* has a field 'titel'"):
        index_words(str(index), fields=["titel"])
    with pytest.raises(UsageError, match=r"`index words` works on folders only"):
        index_words("http://localhost:1")
    with pytest.raises(UsageError, match="does not exist"):
        index_words(str(tmp_path / "nothing"))


def test_words_stay_where_vectors_are_kept(tmp_path: Path) -> None:
    codes, weights = np.zeros((1, 1), np.uint8), np.full((1, 8), 256, np.uint16)
    with Store.create(tmp_path / "i", bits=8, modalities=("image",), keep_vectors="int8") as store:
        store.fill_words()
        store.add(["a"], codes, payloads=[{"text": "red kayak"}], weights=weights)
        look = SecondLook(weights, by="vectors")
        (hit,) = store.search_words(codes, [WordQuery.of("kayak")], k=2, look=look)[0]
        assert (hit.id, hit.matched, hit.vector_distance is None) == ("a", ("kayak",), False)
        assert store.verify() == []
