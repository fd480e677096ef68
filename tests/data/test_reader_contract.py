"""What every registered reader does: the same items out of each format."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proxyhash import registry
from proxyhash.data import Problem, read_collection, register_reader, scan_manifest
from proxyhash.data.readers import READERS, Record
from proxyhash.errors import ManifestError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS: list[dict[str, Any]] = [
    {"id": "a", "image": "a.jpg", "text": "a dog, running", "labels": ["dog", "grass"]},
    {"id": "b", "image": "b.jpg", "text": None, "labels": ["cat"]},
    {"id": "c", "image": None, "text": 'line one\nline "two" ü', "labels": []},
    {"id": "d", "image": "sub/d.png", "text": "plain", "labels": ["dog"], "split": "train"},
]
COLUMNS = ("id", "image", "text", "labels", "split", "note")


def write_jsonl(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "items.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


def write_csv(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for row in rows:
            cells = dict(row)
            if isinstance(cells.get("labels"), list):
                cells["labels"] = "|".join(cells["labels"])
            table.writerow(cells)
    return path


def write_parquet(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "table.parquet"
    columns = {name: [row.get(name) for row in rows] for name in COLUMNS}
    pq.write_table(pa.table(columns), path)
    return path


def write_imagefolder(folder: Path, rows: list[dict[str, Any]]) -> Path:
    renamed = []
    for row in rows:
        other = {"file_name": row.get("image"), "caption": row.get("text")} | row
        other.pop("image", None)
        other.pop("text", None)
        renamed.append(other)
    return write_jsonl(folder, renamed).rename(folder / "metadata.jsonl")


def write_webdataset(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """One JSON member per row, and only the first of the zeros that tar files end with."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for row, values in enumerate(rows):
            text = json.dumps(values).encode()
            entry = tarfile.TarInfo(f"{row}.json")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
        length = tar.offset + 512  # of zeros, which end a tar file
    path = folder / "items.tar"
    path.write_bytes(content.getvalue()[:length])
    return path


def write_huggingface(folder: Path, rows: list[dict[str, Any]]) -> Path:
    table = pa.table({name: [row.get(name) for row in rows] for name in COLUMNS})
    with pa.ipc.new_stream(folder / "data.arrow", table.schema) as writer:
        writer.write_table(table)
    path = folder / "state.json"
    path.write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    return path


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], Path]] = {
    "csv": write_csv,
    "huggingface": write_huggingface,
    "imagefolder": write_imagefolder,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
    "webdataset": write_webdataset,
}


def test_every_reader_is_under_contract() -> None:
    assert set(WRITERS) == set(READERS)


@pytest.mark.parametrize("name", sorted(WRITERS))
class TestEveryReader:
    def test_items_come_out_whole_and_in_order(self, name: str, tmp_path: Path) -> None:
        path = WRITERS[name](tmp_path, ROWS)
        collection = read_collection(path)
        found = [
            (
                item.id,
                item.sources.get("image"),
                item.sources.get("text"),
                list(item.labels),
                item.split,
            )
            for item in collection.items
        ]
        expected = [
            (row["id"], row["image"], row["text"], row["labels"], row.get("split")) for row in ROWS
        ]
        assert found == expected
        assert collection.classes == ("cat", "dog", "grass")

    def test_a_folder_finds_its_manifest(self, name: str, tmp_path: Path) -> None:
        WRITERS[name](tmp_path, ROWS)
        assert scan_manifest(tmp_path).format == name

    def test_other_keys_are_payload(self, name: str, tmp_path: Path) -> None:
        rows = [{**ROWS[0], "note": "kept"}]
        (item,) = read_collection(WRITERS[name](tmp_path, rows)).items
        assert {key: value for key, value in item.payload.items() if value is not None} == {
            "note": "kept"
        }

    def test_rows_count_upwards(self, name: str, tmp_path: Path) -> None:
        items = read_collection(WRITERS[name](tmp_path, ROWS)).items
        rows = [item.row for item in items]
        assert rows[0] >= 1
        assert rows == sorted(set(rows))

    def test_duplicate_ids_name_both_rows(self, name: str, tmp_path: Path) -> None:
        path = WRITERS[name](tmp_path, [ROWS[0], ROWS[1], ROWS[0]])
        first, _, third = (entry.row for entry in READERS[name].read(path))
        with pytest.raises(ManifestError) as caught:
            read_collection(path)
        assert f"row {third}: id 'a' is already used by row {first}" in str(caught.value)
        assert str(path) in str(caught.value)

    def test_no_item_says_what_is_expected(self, name: str, tmp_path: Path) -> None:
        path = WRITERS[name](tmp_path, ROWS)
        if name == "parquet":
            pq.write_table(pa.table({"id": pa.array([], pa.string())}), path)
        else:
            path.write_bytes(b'{"_data_files": []}' if name == "huggingface" else b"")
        with pytest.raises(ManifestError, match=r"has no items; expected: .*id|file_name"):
            read_collection(path)

    def test_damaged_bytes_are_no_crash(self, name: str, tmp_path: Path) -> None:
        path = WRITERS[name](tmp_path, ROWS)
        whole = path.read_bytes()
        for damaged in (whole[: len(whole) // 2], b"\xff\xfe" + whole, b"\x00" * 64):
            path.write_bytes(damaged)
            with pytest.raises(ManifestError, match=str(path)):
                read_collection(path)

    def test_a_folder_in_its_place_is_no_crash(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(ManifestError):
            read_collection(tmp_path, format=name)


def test_a_plugin_reads_its_own_files(tmp_path: Path) -> None:
    @register_reader("lines", suffixes=(".lines",))
    def read_lines(path: Path) -> Any:
        for row, line in enumerate(path.read_text().split(), start=1):
            yield Record(row, {"id": line}) if line != "bad" else Problem(row, "is bad")

    try:
        path = tmp_path / "some.lines"
        path.write_text("x y bad")
        assert [item.id for item in scan_manifest(path).items] == ["x", "y"]
        assert [str(problem) for problem in scan_manifest(path).problems] == ["row 3: is bad"]
        with pytest.raises(ValueError, match="another reader is already named 'lines'"):
            register_reader("lines")(lambda path: iter(()))
    finally:
        READERS.remove("lines")


def test_an_unknown_format_is_corrected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"format is 'json'; .*did you mean 'jsonl'"):
        scan_manifest(tmp_path, format="json")


def test_other_packages_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name, loaded = "entry", 0

        def load(self) -> None:
            self.loaded += 1

    entry = Entry()
    monkeypatch.setattr(registry, "entry_points", lambda *, group: [entry])
    monkeypatch.setattr(READERS, "_loaded", False)
    assert list(READERS) == list(READERS)
    assert entry.loaded == 1
