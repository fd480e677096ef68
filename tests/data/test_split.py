"""Splits as values and as files."""

from __future__ import annotations

import json
import logging
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

    @pytest.mark.parametrize("text", ["[]", "{}", '{"query": []}', "{", ""])
    def test_what_is_no_split(self, text: str, tmp_path: Path) -> None:
        path = tmp_path / "split.json"
        path.write_text(text)
        with pytest.raises(DataError, match=r"split\.json"):
            Split.load(path, COLLECTION)
