"""Splits as values and as files."""

from __future__ import annotations

import base64
import json
import logging
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from proxyhash.data import Collection, Split, draw_split
from proxyhash.errors import DataError, UsageError
from tests.data.builders import collection_of

if TYPE_CHECKING:
    from pathlib import Path

COLLECTION = collection_of(30)


@pytest.fixture
def split() -> Split:
    return draw_split(COLLECTION, query=5, train=12, validation=3, seed=7)


@pytest.fixture
def saved(split: Split, tmp_path: Path) -> Path:
    split.save(tmp_path / "split.json", COLLECTION)
    return tmp_path / "split.json"


class TestValue:
    @pytest.mark.parametrize(
        ("parts", "says"),
        [
            (([1], [1], []), "occurs twice"),
            (([1, 1], [], []), "occurs twice"),
            (([], [2], [2]), "occurs twice"),
            (([5], [], []), "outside of 0 to 4"),
            (([-1], [], []), "outside of 0 to 4"),
        ],
    )
    def test_parts_that_do_not_fit(self, parts: tuple[list[int], ...], says: str) -> None:
        query, train, validation = parts
        with pytest.raises(ValueError, match=says):
            Split.of(5, query=query, train=train, validation=validation, seed=0, source="drawn")

    def test_fingerprint(self, split: Split) -> None:
        fingerprint = split.fingerprint(COLLECTION)
        assert json.loads(json.dumps(fingerprint)) == fingerprint
        assert fingerprint["items"] == 30
        assert fingerprint["seed"] == 7
        assert fingerprint["source"] == "drawn"
        counts = {part: fingerprint[part]["count"] for part in ("query", "gallery", "train")}
        assert counts == {"query": 5, "gallery": 25, "train": 9}
        assert fingerprint["classes"]["count"] == 3
        other = draw_split(COLLECTION, query=5, train=12, validation=3, seed=8)
        assert other.fingerprint(COLLECTION)["query"] != fingerprint["query"]

    def test_of_another_collection(self, split: Split) -> None:
        with pytest.raises(UsageError, match=r"of 30 items, but .*items.jsonl has 31"):
            split.fingerprint(collection_of(31))


class TestFile:
    def test_comes_back(self, split: Split, saved: Path) -> None:
        loaded = Split.load(saved, COLLECTION)
        assert loaded.fingerprint(COLLECTION) == split.fingerprint(COLLECTION)
        assert loaded.gallery.tolist() == split.gallery.tolist()

    def test_follows_the_ids_when_rows_move(self, split: Split, saved: Path) -> None:
        moved = Collection.of(COLLECTION.path, reversed(COLLECTION.items))
        content = json.loads(saved.read_text())
        del content["fingerprint"]
        saved.write_text(json.dumps(content))
        loaded = Split.load(saved, moved)
        expected = {COLLECTION.ids[place] for place in split.query}
        assert {moved.ids[place] for place in loaded.query} == expected

    def test_written_by_hand(self, tmp_path: Path) -> None:
        path = tmp_path / "split.json"
        path.write_text('{"query": ["item-3"], "train": ["item-1", "item-0"]}')
        split = Split.load(path, COLLECTION)
        assert (split.query.tolist(), split.train.tolist(), len(split.gallery)) == ([3], [0, 1], 29)

    def test_changed_texts_only_warn(self, saved: Path, caplog: pytest.LogCaptureFixture) -> None:
        first, *rest = COLLECTION.items
        changed = Collection.of(
            COLLECTION.path, [replace(first, sources={**first.sources, "text": "new"}), *rest]
        )
        with caplog.at_level(logging.WARNING):
            Split.load(saved, changed)
        assert "texts, labels or image names changed" in caplog.text

    @pytest.mark.parametrize(
        ("other", "says"),
        [
            (collection_of(5), "of another collection: .* ids are not in"),
            (collection_of(31), "it had 25 items to search, .* has 26"),
            (collection_of(30, labels=[("dog",)]), "it had 3 classes, .* has 1"),
        ],
    )
    def test_other_collections_are_refused(self, other: Collection, says: str, saved: Path) -> None:
        with pytest.raises(DataError, match=says):
            Split.load(saved, other)

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"format": 2}, "has format 2; this version reads 1"),
            ({"source": "elsewhere"}, "source is 'elsewhere'"),
            ({"seed": "0"}, "seed is '0'"),
            ({"query": "item-1"}, "'query' must be a list of ids"),
            ({"validation": [3]}, "'validation' must be a list of ids"),
            ({"train": ["item-1", "item-1"]}, "occurs twice"),
            ({"fingerprint": 3}, "'fingerprint' must be an object"),
            ({"fingerprint": {}}, "it had None items to search"),
        ],
    )
    def test_damage_is_named(self, change: dict[str, Any], says: str, saved: Path) -> None:
        saved.write_text(json.dumps(json.loads(saved.read_text()) | change))
        with pytest.raises(DataError, match=says):
            Split.load(saved, COLLECTION)

    @pytest.fixture
    def masked(
        self, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> dict[str, Any]:
        """The content of a split file that has a mask of the training items."""
        monkeypatch.setattr("proxyhash.data.split.MOST_IDS", 5)
        split.save(tmp_path / "split.json", COLLECTION)
        content: dict[str, Any] = json.loads((tmp_path / "split.json").read_text())
        assert len(content["query"]) == 5
        return content

    def test_many_ids_become_a_mask(
        self, split: Split, masked: dict[str, Any], tmp_path: Path
    ) -> None:
        bits = zlib.decompress(base64.b64decode(masked["train"]["mask"]))
        ones = [place for place in range(30) if bits[place // 8] >> (7 - place % 8) & 1]
        assert ones == split.train.tolist()
        loaded = Split.load(tmp_path / "split.json", COLLECTION)
        assert loaded.fingerprint(COLLECTION) == split.fingerprint(COLLECTION)

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"of": 31}, "'train' is a mask of 31 items, .* has 30"),
            ({"count": 8}, "the mask 'train' is damaged; draw a new split"),
            ({"mask": "AAAA"}, "is damaged"),
            ({"mask": "no base 64"}, "is damaged"),
            ({"mask": 5}, "is damaged"),
            ({"mask": base64.b64encode(zlib.compress(bytes(3))).decode()}, "is damaged"),
            ({"mask": base64.b64encode(zlib.compress(bytes(10**7))).decode()}, "is damaged"),
        ],
    )
    def test_damaged_masks_are_named(
        self, change: dict[str, Any], says: str, masked: dict[str, Any], tmp_path: Path
    ) -> None:
        masked["train"] |= change
        path = tmp_path / "split.json"
        path.write_text(json.dumps(masked))
        with pytest.raises(DataError, match=says):
            Split.load(path, COLLECTION)

    @pytest.mark.usefixtures("masked")
    def test_masks_are_of_items_in_their_order(self, split: Split, tmp_path: Path) -> None:
        one, other = int(split.train[0]), int(split.strict_gallery[0])
        items = list(COLLECTION.items)
        items[one], items[other] = items[other], items[one]
        moved = Collection.of(COLLECTION.path, items)
        with pytest.raises(DataError, match=r"another collection: it had 25 items to search"):
            Split.load(tmp_path / "split.json", moved)

    @pytest.mark.parametrize("text", ["[]", "{}", '{"query": []}', "{", ""])
    def test_what_is_no_split(self, text: str, tmp_path: Path) -> None:
        path = tmp_path / "split.json"
        path.write_text(text)
        with pytest.raises(DataError, match=r"split\.json"):
            Split.load(path, COLLECTION)
