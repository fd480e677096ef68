"""What is particular to each reader."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.data import Problem, read_collection, scan_manifest
from proxyhash.data.readers import base
from proxyhash.data.readers.csv_table import parse_labels
from proxyhash.errors import ManifestError, MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path


def problems(path: Path) -> list[str]:
    return [str(problem) for problem in scan_manifest(path).problems]


class TestJsonl:
    def test_bad_lines_are_gathered_with_their_numbers(self, tmp_path: Path) -> None:
        path = tmp_path / "items.jsonl"
        path.write_bytes(
            b'\xef\xbb\xbf{"id": 1}\n\n{"id": 2,}\n[3]\n{"id": NaN}\n{"id": "\xff"}\n{"id": 7}'
        )
        scan = scan_manifest(path)
        assert [(item.id, item.row) for item in scan.items] == [("1", 1), ("7", 7)]
        assert [problem.row for problem in scan.problems] == [3, 4, 5, 6]
        for word, text in zip(("column", "object", "NaN", "UTF-8"), problems(path), strict=True):
            assert word in text

    def test_numbers_are_finite(self, tmp_path: Path) -> None:
        path = tmp_path / "items.jsonl"
        path.write_text('{"id": 1, "x": 1e999}\n{"id": 2, "x": 1.5}\n')
        assert problems(path) == ["row 1: not valid JSON (1e999 is too large a number)"]

    def test_lines_are_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(base, "MAX_LINE_BYTES", 100)
        path = tmp_path / "items.jsonl"
        path.write_text('{"id": 1}\n{"id": 2, "text": "' + "x" * 200 + '"}\n{"id": 3}\n')
        assert problems(path) == ["row 2: longer than 100 bytes; the rest is ignored"]

    def test_deep_nesting_is_a_problem_not_a_crash(self, tmp_path: Path) -> None:
        path = tmp_path / "items.jsonl"
        path.write_text('{"id": 1}\n' + "[" * 200_000)
        assert "not valid JSON" in problems(path)[0]


class TestCsv:
    @pytest.mark.parametrize(
        ("cell", "names"),
        [
            ("dog", ["dog"]),
            ("dog|cat", ["dog", "cat"]),
            (" dog ; cat ;", ["dog", "cat"]),
            ("a;b|c", ["a;b", "c"]),
            ('["a|b", "c"]', ["a|b", "c"]),
            ("['a']", "['a']"),
            ("|", []),
        ],
    )
    def test_labels_in_a_cell(self, cell: str, names: object) -> None:
        assert parse_labels(cell) == names

    @given(st.lists(st.text("abc ü", min_size=1).map(str.strip).filter(bool)))
    def test_names_between_bars_come_back(self, names: list[str]) -> None:
        assert parse_labels("|".join(names)) == names

    def test_rows_are_lines_even_after_cells_of_several(self, tmp_path: Path) -> None:
        path = tmp_path / "t.csv"
        path.write_bytes(b'\xef\xbb\xbfid,text\r\n1,"two\r\nlines"\r\n\r\n2,x\r\n3\r\n')
        scan = scan_manifest(path)
        assert [(item.id, item.row) for item in scan.items] == [("1", 2), ("2", 5)]
        assert problems(path) == ["row 6: 1 cells, but the header has 2"]

    def test_tabs_separate_tsv(self, tmp_path: Path) -> None:
        path = tmp_path / "t.tsv"
        path.write_text("id\ttext\tlabels\n1\ta, b\tx;y\n")
        (item,) = read_collection(path).items
        assert (item.sources.get("text"), item.labels) == ("a, b", ("x", "y"))

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("id,id\n1,2\n", "must name each column once"),
            ("id,\n1,2\n", "must name each column once"),
            ('id,text\n1,"never closed\n', "not valid CSV"),
            ("id,text\n1,ü\n".encode("latin-1"), "row 2: not UTF-8"),
        ],
    )
    def test_what_is_no_table(self, content: str | bytes, says: str, tmp_path: Path) -> None:
        path = tmp_path / "t.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ManifestError, match=says):
            read_collection(path)


class TestParquet:
    def test_payload_becomes_json(self, tmp_path: Path) -> None:
        path = tmp_path / "t.parquet"
        day = dt.date(2024, 2, 29)
        table = {
            "id": [1],
            "day": [day],
            "raw": [b"\x00"],
            "score": [float("nan")],
            "box": [{"x": 1, "names": ["a"]}],
        }
        pq.write_table(pa.table(table), path)
        (item,) = read_collection(path).items
        assert item.id == "1"
        assert item.payload == {
            "day": "2024-02-29",
            "score": None,
            "box": {"x": 1, "names": ["a"]},
        }

    def test_images_inside_are_explained(self, tmp_path: Path) -> None:
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table({"id": [1], "image": [{"bytes": b"x", "path": None}]}), path)
        assert "save images as files" in problems(path)[0]

    def test_the_extra_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
        (tmp_path / "t.parquet").write_bytes(b"")
        with pytest.raises(MissingExtraError, match=r"pip install 'proxyhash\[formats\]'"):
            read_collection(tmp_path)


class TestImagefolder:
    @pytest.mark.parametrize(
        ("line", "labels"),
        [
            ('{"file_name": "a.jpg", "label": "dog"}', ("dog",)),
            ('{"file_name": "a.jpg", "tags": ["x", "y"]}', ("x", "y")),
            ('{"file_name": "a.jpg", "labels": [], "class": "no"}', ()),
        ],
    )
    def test_names_of_columns(self, line: str, labels: tuple[str, ...], tmp_path: Path) -> None:
        (tmp_path / "metadata.jsonl").write_text(line)
        (item,) = read_collection(tmp_path).items
        assert (item.id, item.sources.get("image"), item.labels) == ("a.jpg", "a.jpg", labels)

    def test_tables_too(self, tmp_path: Path) -> None:
        (tmp_path / "metadata.csv").write_text("file_name,text,tags\na.jpg,hello,x|y\n")
        (item,) = read_collection(tmp_path).items
        assert (item.id, item.sources.get("text"), item.labels) == ("a.jpg", "hello", ("x", "y"))

    def test_neither_file_nor_id(self, tmp_path: Path) -> None:
        (tmp_path / "metadata.jsonl").write_text('{"text": "x"}\n{"id": 2, "text": "y"}\n{"id"')
        assert [entry.row for entry in scan_manifest(tmp_path).problems] == [1, 3]

    def test_problems_pass_through(self, tmp_path: Path) -> None:
        (tmp_path / "metadata.jsonl").write_text('oops\n{"file_name": "b.jpg"}')
        (problem,) = scan_manifest(tmp_path).problems
        assert isinstance(problem, Problem)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read: Is a directory"):
        list(base.read_lines(tmp_path))
