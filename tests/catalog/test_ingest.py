"""Items of a manifest in an index: what is added, replaced, left alone and left out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from proxyhash.catalog.ingest import IndexReport, ingest_collection
from proxyhash.catalog.thumbnails import ThumbnailStore
from proxyhash.codes import CodeFile
from proxyhash.data import open_image, read_collection
from proxyhash.errors import DataError, InterruptedRunError
from proxyhash.index import MemoryIndex

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.data import Collection


@dataclass
class StubModel:
    """Gives a text its length as code, an image file its size; stops at a batch if told to."""

    calls: list[int] = field(default_factory=list)
    stop_at: int | None = None

    def encode_collection(self, collection: Collection, **_: Any) -> CodeFile:
        if self.stop_at == len(self.calls):
            raise KeyboardInterrupt
        self.calls.append(len(collection))
        images = [
            0 if path is None else path.stat().st_size % 256 for path in collection.sources("image")
        ]
        texts = [len(text or "") for text in collection.sources("text")]
        return CodeFile(
            ids=collection.ids,
            codes={
                "image": np.array(images, np.uint8)[:, None],
                "text": np.array(texts, np.uint8)[:, None],
            },
            present={name: collection.has(name) for name in ("image", "text")},
            bits=8,
        )


def manifest(folder: Path, items: list[dict[str, Any]]) -> Collection:
    folder.mkdir(exist_ok=True)
    for item in items:
        if item.get("image") and not (folder / item["image"]).exists():
            Image.new("RGB", (600, 300), item.pop("color", "red")).save(folder / item["image"])
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    return read_collection(folder)


ITEMS: list[dict[str, Any]] = [
    {"id": "both", "image": "a.png", "text": "abc", "labels": ["x"], "price": 3.5, "tags": ["t"]},
    {"id": "words", "text": "abcde"},
    {"id": "image", "image": "b.png", "split": "query"},
    {"id": "nothing", "labels": ["y"]},
]


def index_of_two() -> MemoryIndex:
    return MemoryIndex(bits=8, modalities=("image", "text"))


def test_items_come_with_codes_and_payloads(tmp_path: Path) -> None:
    index = index_of_two()
    report = ingest_collection(index, StubModel(), manifest(tmp_path / "d", ITEMS))
    assert report == IndexReport(added=3, without_code=1)
    assert report.stored == len(index) == 3
    both = index.get("both")
    assert both.payload == {
        "text": "abc",
        "image": "a.png",
        "labels": ["x"],
        "price": 3.5,
        "tags": ["t"],
    }
    assert both.codes["text"].tolist() == [3]
    assert set(index.get("words").codes) == {"text"}
    assert set(index.get("image").codes) == {"image"}
    assert index.get("image").payload == {"text": None, "image": "b.png", "labels": []}


def test_only_what_changed_is_stored_again(tmp_path: Path) -> None:
    index = index_of_two()
    ingest_collection(index, StubModel(), manifest(tmp_path / "d", ITEMS))
    again = [
        ITEMS[0] | {"price": 4},
        ITEMS[1] | {"text": "longer"},
        ITEMS[2],
        ITEMS[3] | {"text": "now a text"},
        {"id": "new", "text": "x"},
    ]
    report = ingest_collection(index, StubModel(), manifest(tmp_path / "d", again), batch=2)
    assert report == IndexReport(added=2, replaced=2, unchanged=1)
    assert index.get("both").payload["price"] == 4
    assert index.get("words").codes["text"].tolist() == [6]
    lost = [ITEMS[0] | {"image": None}]
    report = ingest_collection(index, StubModel(), manifest(tmp_path / "d", lost))
    assert report == IndexReport(replaced=1)
    assert set(index.get("both").codes) == {"text"}


def test_thumbnails_are_small_and_follow_their_items(tmp_path: Path) -> None:
    index, store = index_of_two(), ThumbnailStore.create(tmp_path / "t.sqlite3")
    collection = manifest(tmp_path / "d", ITEMS)
    report = ingest_collection(index, StubModel(), collection, thumbnails=store)
    assert report.thumbnails == len(store) == 2
    assert open_image(store.get("both") or b"").size == (256, 128)
    assert ingest_collection(index, StubModel(), collection, thumbnails=store).thumbnails == 0
    store.delete(["both"])  # one that is missing is made, though its item is unchanged
    assert ingest_collection(index, StubModel(), collection, thumbnails=store).thumbnails == 1
    lost = manifest(tmp_path / "d", [ITEMS[0] | {"image": None}, ITEMS[2] | {"n": 1}])
    assert ingest_collection(index, StubModel(), lost, thumbnails=store).thumbnails == 1
    assert store.present(["both", "image"]) == {"image"}


def test_ctrl_c_keeps_whole_batches_and_says_how_to_go_on(tmp_path: Path) -> None:
    index, collection = index_of_two(), manifest(tmp_path / "d", ITEMS)
    with pytest.raises(InterruptedRunError, match=r"2 of 4 items are stored: .*index add"):
        ingest_collection(index, StubModel(stop_at=1), collection, batch=2)
    assert sorted(item.id for some in index.items() for item in some) == ["both", "words"]
    report = ingest_collection(index, StubModel(), collection, batch=2)
    assert report == IndexReport(added=1, unchanged=2, without_code=1)


def test_work_goes_in_batches_and_every_item_is_reported(tmp_path: Path) -> None:
    steps: list[Any] = []

    def track(items, description, total):
        assert (description, total) == ("indexing items", 4)
        for item in items:
            yield item
            steps.append(item.id)

    model = StubModel()
    collection = manifest(tmp_path / "d", ITEMS)
    ingest_collection(index_of_two(), model, collection, batch=3, track=track)
    assert model.calls == [3, 1]
    assert steps == ["both", "words", "image", "nothing"]


def test_a_payload_that_is_no_json_is_named(tmp_path: Path) -> None:
    collection = manifest(tmp_path / "d", [ITEMS[0], {"id": "x", "text": "t"}])
    bad = replace(collection.items[1], payload={"n": 2**70})  # no manifest has it any more
    collection = replace(collection, items=(collection.items[0], bad))
    message = r"row 2, item 'x': the payload holds an integer .* leave its key out"
    with pytest.raises(DataError, match=message):
        ingest_collection(index_of_two(), StubModel(), collection)
