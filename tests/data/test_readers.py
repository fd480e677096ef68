"""What is particular to each reader."""

from __future__ import annotations

import datetime as dt
import json
import sys
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.data import Problem, read_collection, scan_manifest
from proxyhash.data.labels import split_cell
from proxyhash.data.readers import base
from proxyhash.errors import ManifestError, MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path


def problems(path: Path) -> list[str]:
    return [str(problem) for problem in scan_manifest(path).problems]


class TestJsonl:
    @pytest.mark.parametrize("text", ['[{"id": 1}, {"id": 2}]', '[\n{"id": 1},\n{"id": 2}\n]'])
    def test_json_that_is_not_lines_says_how_to_write_them(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "items.jsonl").write_text(text)
        assert "write JSON as lines: jq" in problems(tmp_path / "items.jsonl")[0]
        (tmp_path / "items.jsonl").rename(tmp_path / "items.json")
        with pytest.raises(ManifestError, match=r"items\.json: JSON is read as lines.*jq"):
            scan_manifest(tmp_path / "items.json")
        with pytest.raises(ManifestError, match=r"no manifest.*; items\.json is not read"):
            scan_manifest(tmp_path)

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

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
    def test_byte_order_marks(self, encoding: str, tmp_path: Path) -> None:
        path = tmp_path / "items.jsonl"
        path.write_bytes('{"id": "ü"}\r\n{"id": 2}'.encode(encoding))
        assert read_collection(path).ids == ("ü", "2")

    def test_numbers_are_finite(self, tmp_path: Path) -> None:
        path = tmp_path / "items.jsonl"
        path.write_text('{"id": 1, "x": 1e999}\n{"id": 2, "x": 1.5}\n')
        assert problems(path) == ["row 1: not valid JSON (1e999 is too large a number)"]

    def test_lines_are_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(base, "MAX_LINE_BYTES", 100)
        path = tmp_path / "items.jsonl"
        path.write_text('{"id": 1}\n{"id": 2, "text": "' + "x" * 200 + '"}\n{"id": 3}\n')
        assert problems(path) == ["row 2: longer than 100 bytes"]
        assert read_collection(path, on_bad_item="skip").ids == ("1", "3")

    def test_a_line_without_end_ends(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(base, "MAX_LINE_BYTES", 100)
        monkeypatch.setattr(base, "_MAX_SKIPPED_BYTES", 1000)
        path = tmp_path / "items.jsonl"
        path.write_text('{"id": 1}\n' + "x" * 2000 + '\n{"id": 3}\n')
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
            ("['a']", ["a"]),
            ("['dog', 'cat']", ["dog", "cat"]),
            ("['dog' 'cat']", ["dog", "cat"]),
            ("array(['dog', 'cat'], dtype=object)", ["dog", "cat"]),
            ("np.array(['dog'\n 'cat'])", ["dog", "cat"]),
            ("array(dog)", ["array(dog)"]),
            ("(\"dog\", 'cat')", ["dog", "cat"]),
            ("{'dog'}", ["dog"]),
            (r"['it\'s', 'a\\b']", ["it's", "a\\b"]),
            ("[dog, cat]", ["dog", "cat"]),
            ("[3 7]", [3, 7]),
            ("[007]", [7]),
            ("(dog)", ["(dog)"]),
            ("['dog', None]", "['dog', None]"),
            ("['a", "['a"),
            ("dog,cat", ["dog,cat"]),
            ("|", []),
        ],
    )
    def test_labels_in_a_cell(self, cell: str, names: object) -> None:
        assert split_cell(cell) == names

    @given(st.lists(st.text("abc ü", min_size=1).map(str.strip).filter(bool)))
    def test_names_between_bars_come_back(self, names: list[str]) -> None:
        assert split_cell("|".join(names)) == names

    def test_rows_are_lines_even_after_cells_of_several(self, tmp_path: Path) -> None:
        path = tmp_path / "t.csv"
        path.write_bytes(b'\xef\xbb\xbfid,text\r\n1,"two\r\nlines"\r\n\r\n2,x\r\n3\r\n')
        scan = scan_manifest(path)
        assert [(item.id, item.row) for item in scan.items] == [("1", 2), ("2", 5)]
        assert problems(path) == ["row 6: 1 cell, but the header has 2"]

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
            ("id,text\n1,ü\n".encode("latin-1"), "row 2: column text: not UTF-8"),
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

    @pytest.mark.parametrize(
        ("column", "values"),
        [
            (pa.array([dt.date(2024, 2, 29), None]), ["2024-02-29", None]),
            (pa.array([dt.date(24, 2, 29)] * 2, pa.date64()), ["0024-02-29"] * 2),
            (pa.array([0, 86_400 * 366 + 3_661], pa.timestamp("s")), None),
            (
                pa.array([1_700_000_000_123_456_789, 1_700_000_000 * 10**9], pa.timestamp("ns")),
                ["2023-11-14T22:13:20.123456789", "2023-11-14T22:13:20"],
            ),
            (
                pa.array([1_700_000_000_500, -1], pa.timestamp("ms", "Asia/Tokyo")),
                ["2023-11-14T22:13:20.5+00:00", "1969-12-31T23:59:59.999+00:00"],
            ),
            (pa.array([3661, 0], pa.time32("s")), ["01:01:01", "00:00:00"]),
            (pa.array([10**18, -5], pa.duration("s")), [10**18, -5]),
            (pa.array([1500, -250], pa.duration("ms")), [1.5, -0.25]),
            (pa.array([Decimal("9.50"), None], pa.decimal128(6, 2)), [9.5, None]),
            (pa.array([Decimal(900), Decimal(-7)], pa.decimal128(6, 0)), [900, -7]),
            (pa.array([1.5, float("inf")], pa.float32()), [1.5, None]),
            (pa.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
            (
                pa.array([[dt.datetime(2024, 1, 2, 3, 4)], []], pa.list_(pa.timestamp("ns"))),
                [["2024-01-02T03:04:00"], []],
            ),
            (
                pa.array([[("a", 1)], [("b", 2), ("b", 3)]], pa.map_(pa.string(), pa.int64())),
                [{"a": 1}, [["b", 2], ["b", 3]]],
            ),
            (
                pa.StructArray.from_arrays(
                    [pa.array([1, 2]), pa.array(["x", None]), pa.array([b"z", b"z"])],
                    names=["a", "a", "a"],
                ),
                [{"a": 1, "a (2)": "x", "a (3)": None}, {"a": 2, "a (2)": None, "a (3)": None}],
            ),
        ],
    )
    def test_values_of_every_type(
        self, column: pa.Array, values: list[object] | None, tmp_path: Path
    ) -> None:
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table({"id": [1, 2], "x": column}), path)
        values = values or ["1970-01-01T00:00:00", "1971-01-02T01:01:01"]
        assert [item.payload.get("x") for item in read_collection(path).items] == values

    @pytest.mark.parametrize(
        ("column", "says"),
        [
            (pa.array([1, 10**7, 2], pa.date32()), "its year is not one of 1 to 9999"),
            (pa.array([1, 10**12, 2], pa.timestamp("s")), "its year is not one of 1 to 9999"),
            (pa.array([1, -(10**12), 2], pa.timestamp("s")), "its year is not one of 1 to 9999"),
            (pa.array([[], [10**7], []], pa.list_(pa.date32())), "its year is not one of 1"),
            (
                pa.Array.from_buffers(
                    pa.string(), 3, pa.array([b"ok", b"caf\xe9", b"ok"]).buffers()
                ),
                "not UTF-8 text",
            ),
        ],
    )
    def test_a_cell_without_a_value_costs_its_row(
        self, column: pa.Array, says: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table({"id": ["a", "b", "c"], "extra": column}), path)
        (problem,) = scan_manifest(path).problems
        assert problem.row == 2
        assert problem.message.startswith("column extra: ")
        assert says in problem.message
        assert read_collection(path, on_bad_item="skip").ids == ("a", "c")

    def test_a_damaged_row_group_costs_no_other(self, tmp_path: Path) -> None:
        path = tmp_path / "t.parquet"
        numbers = [str(number) * 9 for number in range(300)]
        pq.write_table(
            pa.table({"id": numbers}), path, row_group_size=100, compression="none",
            use_dictionary=False,
        )  # fmt: skip
        group = pq.ParquetFile(path).metadata.row_group(1).column(0)
        content = bytearray(path.read_bytes())
        start = group.data_page_offset
        content[start : start + 20] = b"\xff" * 20
        path.write_bytes(content)
        kept = read_collection(path, on_bad_item="skip")
        assert kept.ids == (*numbers[:100], *numbers[200:])
        assert "row 101: rows 101 to 200 cannot be read" in problems(path)[0]

    def test_names_of_columns_and_classes(self, tmp_path: Path) -> None:
        path = tmp_path / "t.parquet"
        names = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
        table = pa.table({"file_name": ["a/x.jpg"], "caption": ["hello"], "label": [1]})
        schema = {"huggingface": json.dumps({"info": {"features": names}})}
        pq.write_table(table.replace_schema_metadata(schema), path)
        (item,) = read_collection(path).items
        assert (item.id, item.sources, item.labels) == (
            *("a/x", {"image": "a/x.jpg", "text": "hello"}, ("dog",)),
        )

    def test_texts_that_are_stored_as_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table({"id": [b"a", b"\xff"], "text": [b"x", b"y"]}), path)
        assert [item.id for item in scan_manifest(path).items] == ["a"]
        assert problems(path) == ["row 2: column id: not UTF-8 text (invalid start byte)"]

    def test_a_column_twice(self, tmp_path: Path) -> None:
        path = tmp_path / "t.parquet"
        pq.write_table(pa.Table.from_arrays([pa.array([1])] * 2, names=["id", "id"]), path)
        with pytest.raises(ManifestError, match="the column 'id' is there twice"):
            read_collection(path)

    def test_unknown_columns_are_listed(self, tmp_path: Path) -> None:
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table({"key": [1], "words": ["x"]}), path)
        with pytest.raises(ManifestError, match="columns found: 'key', 'words'; expected: id for"):
            read_collection(path)

    def test_pandas_is_not_asked_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pandas", None)
        path = tmp_path / "t.parquet"
        when = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns"))
        pq.write_table(pa.table({"id": [1], "when": when}), path)
        (item,) = read_collection(path).items
        assert item.payload == {"when": "2023-11-14T22:13:20.123456789"}

    def test_images_inside_stay_there(self, tmp_path: Path) -> None:
        path = tmp_path / "t.parquet"
        whole = {"bytes": b"\xff\xd8\xff", "path": "1.jpg"}
        pq.write_table(pa.table({"image": [whole], "caption": ["as `datasets` writes it"]}), path)
        (item,) = scan_manifest(path).items
        assert (item.id, item.sources["image"]) == ("t.parquet/image/1", "t.parquet/image/1")
        pq.write_table(pa.table({"id": [1, 2], "image": [b"\xff\xd8\xff", b"2.jpg"]}), path)
        images = [item.sources["image"] for item in scan_manifest(path).items]
        assert images == ["t.parquet/image/1", "t.parquet/image/2"]
        pq.write_table(pa.table({"id": [1], "image": [{"bytes": None, "path": "1.jpg"}]}), path)
        assert scan_manifest(path).items[0].sources["image"] == "1.jpg"

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

    def test_cells_of_a_table_get_types(self, tmp_path: Path) -> None:
        (tmp_path / "metadata.csv").write_text("file_name,caption,n,label\na.jpg,1,2,3\n")
        (item,) = read_collection(tmp_path).items
        assert (item.id, item.sources["text"], item.labels) == ("a.jpg", "1", ("3",))
        assert item.payload == {"n": 2}

    def test_problems_pass_through(self, tmp_path: Path) -> None:
        (tmp_path / "metadata.jsonl").write_text('oops\n{"file_name": "b.jpg"}')
        (problem,) = scan_manifest(tmp_path).problems
        assert isinstance(problem, Problem)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read: Is a directory"):
        list(base.read_lines(tmp_path))
