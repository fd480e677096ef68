"""Finding a manifest, gathering its bad rows, hinting at misspelt keys."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from proxyhash.data import read_collection, scan_manifest
from proxyhash.errors import ManifestError, UsageError
from tests.data.builders import write_jsonl
from tests.shared_data import shared_path

if TYPE_CHECKING:
    from pathlib import Path


class TestFinding:
    def test_the_own_format_comes_first(self, tmp_path: Path) -> None:
        for name in ("items.jsonl", "metadata.jsonl", "other.jsonl"):
            write_jsonl(tmp_path / name, [{"id": name, "file_name": "x.jpg"}])
        assert read_collection(tmp_path).ids == ("items.jsonl",)
        (tmp_path / "items.jsonl").unlink()
        assert scan_manifest(tmp_path).format == "imagefolder"

    def test_several_candidates_are_named(self, tmp_path: Path) -> None:
        for name in ("one.csv", "two.csv"):
            (tmp_path / name).write_text("id\n1\n")
        with pytest.raises(ManifestError, match=r"2 files .*one\.csv, two\.csv.*choose one"):
            read_collection(tmp_path)
        assert read_collection(tmp_path / "two.csv").ids == ("1",)

    def test_an_empty_folder_says_what_is_expected(self, tmp_path: Path) -> None:
        with pytest.raises(ManifestError, match=r"no manifest; expected: items\.jsonl"):
            read_collection(tmp_path)

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(ManifestError, match="does not exist"):
            read_collection(tmp_path / "nowhere")

    def test_a_name_without_meaning_needs_a_format(self, tmp_path: Path) -> None:
        path = write_jsonl(tmp_path / "items.txt", [{"id": 1}])
        with pytest.raises(
            UsageError, match="may be one of csv, huggingface, imagefolder, jsonl, par"
        ):
            read_collection(path)
        assert read_collection(path, format="jsonl").ids == ("1",)

    def test_a_format_also_chooses_among_files(self, tmp_path: Path) -> None:
        write_jsonl(tmp_path / "items.jsonl", [{"id": "jsonl"}])
        (tmp_path / "t.csv").write_text("id\ncsv\n")
        assert read_collection(tmp_path, format="csv").ids == ("csv",)


class TestBadRows:
    def bad(self, folder: Path) -> Path:
        good = [{"id": number} for number in range(4)]
        return write_jsonl(folder / "items.jsonl", [*good, *({"id": None} for _ in range(9))])

    def test_failing_shows_the_first_and_counts_all(self, tmp_path: Path) -> None:
        with pytest.raises(ManifestError) as caught:
            read_collection(self.bad(tmp_path))
        text = str(caught.value)
        assert "items.jsonl: 9 of 13 rows cannot be used: row 5: the id is missing" in text
        assert "row 9" in text
        assert "row 10" not in text
        assert "and 4 more" in text

    def test_skipping_keeps_the_rest_and_warns(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            collection = read_collection(self.bad(tmp_path), on_bad_item="skip")
        assert collection.ids == ("0", "1", "2", "3")
        assert "skipping rows: 9 of 13" in caplog.text

    def test_nothing_left_to_skip_to(self, tmp_path: Path) -> None:
        path = write_jsonl(tmp_path / "items.jsonl", [{"id": None}])
        with pytest.raises(ManifestError, match="1 of 1 rows"):
            read_collection(path, on_bad_item="skip")

    def test_the_option_is_checked(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="on_bad_item is 'ignore'"):
            read_collection(tmp_path, on_bad_item="ignore")

    def test_empty_texts_are_counted_and_missing_ones_are_not(self, tmp_path: Path) -> None:
        rows = [{"id": 1, "text": " "}, {"id": 2}, {"id": 3, "text": None}, {"id": 4, "text": "x"}]
        scan = scan_manifest(write_jsonl(tmp_path / "items.jsonl", rows))
        assert scan.blank == {"text": (1,)}


class TestHints:
    @pytest.mark.parametrize(
        ("key", "meant"),
        [("label", "labels"), ("lables", "labels"), ("Text", "text"), ("file_name", "image")],
    )
    def test_a_misspelt_key(
        self, key: str, meant: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = write_jsonl(tmp_path / "items.jsonl", [{"id": 1, key: "x"}, {"id": 2, key: "y"}])
        with caplog.at_level(logging.WARNING):
            read_collection(path)
        assert f"2 items have a key '{key}' and no '{meant}'" in caplog.text

    def test_a_key_of_its_own_is_left_alone(self, tmp_path: Path) -> None:
        row = {"id": 1, "labels": ["x"], "label": "payload", "title": "t", "price": 3}
        assert scan_manifest(write_jsonl(tmp_path / "items.jsonl", [row])).hints == ()


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "items", "classes"), [("flickr8k", 7957, 25), ("fashion10k", 10_000, 82)]
)
def test_real_manifests(name: str, items: int, classes: int) -> None:
    collection = read_collection(shared_path(f"data/{name}"))
    assert (len(collection), len(collection.classes)) == (items, classes)
    assert collection.labels.sum(axis=1).mean() > 1.9
