"""Tables as Excel, pandas and people write them."""

from __future__ import annotations

import csv
import io
import os
import threading
from typing import TYPE_CHECKING

import pytest

from proxyhash.data import read_collection, scan_manifest
from proxyhash.data.readers import base
from proxyhash.errors import ManifestError

if TYPE_CHECKING:
    from pathlib import Path

HEADER = ["id", "image", "text", "labels", "price", "new"]
ROWS = [
    ["007", "a.jpg", 'a dog, a "cat"; and | more', "dog|cat", "9.5", "true"],
    ["b", "b.jpg", "line one\nline two", "", "-3", "FALSE"],
    ["c", "", "ü", "dog", "", ""],
]


def table(separator: str = ",", end: str = "\r\n", **options: object) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator=end, **options).writerows([HEADER, *ROWS])  # type: ignore[arg-type]
    return text.getvalue()


def read(path: Path, content: str | bytes) -> list[tuple[object, ...]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [
        (item.id, dict(item.sources), item.labels, dict(item.payload))
        for item in read_collection(path).items
    ]


@pytest.fixture
def usual(tmp_path: Path) -> list[tuple[object, ...]]:
    rows = read(tmp_path / "usual.csv", table())
    assert rows == [
        (
            *("007", {"image": "a.jpg", "text": 'a dog, a "cat"; and | more'}, ("dog", "cat")),
            {"price": 9.5, "new": True},
        ),
        (
            *("b", {"image": "b.jpg", "text": "line one\nline two"}, ()),
            {"price": -3, "new": False},
        ),
        ("c", {"text": "ü"}, ("dog",), {}),
    ]
    return rows


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_and_line_ends(
    usual: list[object], name: str, separator: str, end: str, tmp_path: Path
) -> None:
    text = table(separator, end, quoting=csv.QUOTE_ALL).replace(
        "line one\nline two", f"line one{end}line two"
    )
    rows = read(tmp_path / name, text)
    assert repr(rows).replace(repr(end)[1:-1], r"\n") == repr(usual)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks(usual: list[object], encoding: str, tmp_path: Path) -> None:
    assert read(tmp_path / "t.csv", table(";").encode(encoding)) == usual


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("id,image,text,labels", "ID,Image,TEXT,Labels"),
        lambda text: text.replace("id,image,text,labels", " id , File Name,Caption , Tags"),
        lambda text: "sep=,\n" + text,
        lambda text: "\r\n\r\n" + text,
        lambda text: text + "\r\n,,,,,\r\n",
    ],
)
def test_headers(usual: list[object], change: object, tmp_path: Path) -> None:
    assert callable(change)
    assert read(tmp_path / "t.csv", change(table())) == usual


def test_an_index_column_and_a_trailing_separator(usual: list[object], tmp_path: Path) -> None:
    header, *rows = csv.reader(io.StringIO(table(), newline=""))
    text = io.StringIO()
    lines = [["", *header, ""], *([str(n), *row, ""] for n, row in enumerate(rows))]
    csv.writer(text).writerows([*lines[:-1], lines[-1][:-1]])
    assert read(tmp_path / "t.csv", text.getvalue()) == usual


def test_what_was_recognized_names_no_column_without_a_name(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text(",title\n0,a dog\n1,a cat\n")
    said = read_collection(tmp_path / "items.csv").recognized
    assert "no images, 2 texts, no labels; text from column title; the first column" in said
    assert "column ;" not in said


def test_blanks_after_separators(tmp_path: Path) -> None:
    rows = read(tmp_path / "t.csv", 'id, text, n\n1, "a, b", 2\n2, c, 3\n')
    assert rows == [("1", {"text": "a, b"}, (), {"n": 2}), ("2", {"text": "c"}, (), {"n": 3})]


def test_a_long_cell(tmp_path: Path) -> None:
    text = "word " * 200_000
    (row,) = read(tmp_path / "t.csv", f'id,text\n1,"{text}"\n')
    assert row[1] == {"text": text}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"2,caf\xe9", "column text: not UTF-8 text; save the file as UTF-8"),
        (b"2,a,b", "3 cells, but the header has 2; is a text with a separator not in quotes?"),
        (b"2", "1 cell, but the header has 2"),
        (b'2,"a" b', "not valid CSV"),
        (b'2,"never closed', "not valid CSV"),
        (b"2," + b"x" * (base.MAX_LINE_BYTES + 9), "longer than 1,048,576 characters"),
    ],
)
def test_a_bad_line_costs_no_other(line: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"id,text\n1,a\n" + line + b"\n3,c\n4,\xc3\xbc\n")
    scan = scan_manifest(path)
    assert [item.id for item in scan.items] == ["1", "3", "4"]
    ((row, message),) = [(each.row, each.message) for each in scan.problems]
    assert row == 3
    assert says in message
    assert read_collection(path, on_bad_item="skip").ids == ("1", "3", "4")


def test_a_line_that_is_too_long_inside_of_quotes(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f'id,text\n1,"open\n2,b\n{"x" * (base.MAX_LINE_BYTES + 1)}\n4,d\n5,"e"\n')
    assert [item.id for item in scan_manifest(path).items] == ["2", "4", "5"]
    assert [each.row for each in scan_manifest(path).problems] == [2, 4]


def test_a_quote_that_is_never_closed_costs_one_line_of_many(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    lines = [f"{n},{'word ' * 20}\n" for n in range(30_000)]  # more than the longest cell
    path.write_text("id,text\n" + '"open,x\n' + "".join(lines) + '"open,x\n')
    scan = scan_manifest(path)
    assert len(scan.items) == 30_000
    assert [each.row for each in scan.problems] == [2, 30_003]
    assert "a cell is longer than 1,048,576 characters" in scan.problems[0].message


def test_quotes_of_texts_between_tabs(tmp_path: Path) -> None:
    rows = read(tmp_path / "t.tsv", 'id\ttext\n1\t"Hello" he said\n2\tc\n')
    assert [row[1] for row in rows] == [{"text": '"Hello" he said'}, {"text": "c"}]


def test_a_column_without_a_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,text,\n1,a,\n2,b, c\n3,d,\n")
    scan = scan_manifest(path)
    assert [item.id for item in scan.items] == ["1", "3"]
    assert "cell 3 is ' c', but the header" in scan.problems[0].message


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("a,b", r"columns found, commas between them: 'a', 'b'; expected: id .*filename.*caption"),
        ("a;b;text", "semicolons between them: 'a', 'b', 'text'"),
        ("name", "no column for the id or the image"),
    ],
)
def test_a_header_without_known_columns(header: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=says):
        read(tmp_path / "t.csv", header + "\n1,2\n")


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "2.5", "-3", "1e3", ".5"], [1, 2.5, -3, 1000.0, 0.5]),
        (["1", "nan", "N/A", "", "2"], [1, None, None, None, 2]),
        (["True", "false", ""], [True, False, None]),
        (["007", "8"], ["007", "8"]),
        (["+491234", "5"], ["+491234", "5"]),
        (["1", "x"], ["1", "x"]),
        (["true", "1"], ["true", "1"]),
        (["9223372036854775807", "1"], [2**63 - 1, 1]),
        (["9223372036854775808", "1"], ["9223372036854775808", "1"]),
        (["1e999", "1"], ["1e999", "1"]),
        (["nan", "NA"], ["nan", "NA"]),
        (["1_000", "2"], ["1_000", "2"]),
        (["\u0661", "2"], ["\u0661", "2"]),
        (["1\n2", "3"], ["1\n2", "3"]),
        (["9" * 5000, "3"], ["9" * 5000, "3"]),
    ],
)
def test_a_column_gets_the_type_of_all_its_cells(
    cells: list[str], values: list[object], tmp_path: Path
) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["id", "x"], *([f"r{n}", cell] for n, cell in enumerate(cells))])
    found = [row[3].get("x") for row in read(tmp_path / "t.csv", text.getvalue())]  # type: ignore[attr-defined]
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["9,5", "-10", "1,25"], [9.5, -10, 1.25]),
        (["1,000", "2,500"], ["1,000", "2,500"]),  # thousands, or not
        (["9,5", "1.5"], ["9,5", "1.5"]),
    ],
)
def test_decimal_commas(cells: list[str], values: list[object], tmp_path: Path) -> None:
    text = "id;x\n" + "".join(f"r{n};{cell}\n" for n, cell in enumerate(cells))
    found = [row[3].get("x") for row in read(tmp_path / "t.csv", text)]  # type: ignore[attr-defined]
    assert found == values


def test_many_rows_are_typed_as_a_whole(tmp_path: Path) -> None:
    """The last of many rows decides as much as the first."""
    lines = [f"{n},{n},{-n},{n}\n" for n in range(5000)]
    text = "id,whole,other,late\n" + "".join(lines) + "x,1.5,oops,2\n"
    rows = read(tmp_path / "t.csv", text)
    assert rows[4999][3] == {"whole": 4999, "other": "-4999", "late": 4999}
    assert scan_manifest(tmp_path / "t.csv").types == {"whole": "numbers", "late": "numbers"}


def test_the_keys_of_items_stay_texts(tmp_path: Path) -> None:
    rows = read(tmp_path / "t.csv", "id,image,text,labels,split\n1,2,3,4,5\n")
    assert rows == [("1", {"image": "2", "text": "3"}, ("4",), {})]


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "t.csv"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("id;n\n1;2\n2;3\n",))
    writer.start()
    try:
        assert [item.payload for item in read_collection(pipe).items] == [{"n": 2}, {"n": 3}]
    finally:
        writer.join()
