"""Manifests of anything: items come out, or an error that names the file."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyhash.data import Collection, read_collection, scan_manifest
from proxyhash.errors import DataError
from proxyhash.index.checks import check_items

if TYPE_CHECKING:
    from pathlib import Path

often = settings(max_examples=200, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("manifests")


def items_or_error(path: Path, content: bytes) -> Collection | None:
    """Read content under each way to treat bad rows, and return what is left of it."""
    path.write_bytes(content)
    kept: Collection | None = None
    try:
        kept = read_collection(path, on_bad_item="skip")
        scan = scan_manifest(path)
    except DataError as error:
        if path.name not in str(error):
            raise
        return None
    assert kept.ids == tuple(item.id for item in scan.items)
    assert len(set(kept.ids)) == len(kept)
    for item in kept.items:
        assert item.id.strip()
        json.dumps(
            [item.id, item.sources.get("image"), item.sources.get("text"), item.labels],
            ensure_ascii=False,
        ).encode()
    codes = {"text": np.zeros((len(kept), 4), np.uint8)}
    payloads = [
        {**item.payload, **item.sources, "labels": list(item.labels)} for item in kept.items
    ]
    check_items(kept.ids, codes, payloads, bits=32, modalities=("text",))  # an index takes all
    try:
        assert read_collection(path).ids == kept.ids
        assert not scan.bad_rows
    except DataError:
        assert scan.bad_rows
    return kept


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text("ab|;[ \0\ud800ü", max_size=4)
    | st.sampled_from([10**30, "https://a", "[1, null]"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2)
    ),
    max_leaves=4,
)
keys = st.sampled_from(
    ["id", "image", "text", "labels", "split", "file_name", "label", "caption", "Text", "\ud800"]
)
lines = st.dictionaries(keys, values, max_size=5).map(json.dumps) | values.map(json.dumps)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    place = draw(st.integers(0, len(whole)))
    cut = draw(st.integers(0, 3))
    return whole[:place] + draw(st.binary(max_size=3)) + whole[place + cut :]


@pytest.mark.parametrize("name", ["items.jsonl", "metadata.jsonl", "t.csv", "t.tsv"])
@often
@given(st.binary(max_size=80) | st.text('id,"\n\r\t[]{}:1|\ufeff\0', max_size=60).map(str.encode))
def test_any_bytes(folder: Path, name: str, content: bytes) -> None:
    items_or_error(folder / name, content)


@pytest.mark.parametrize("name", ["items.jsonl", "metadata.jsonl"])
@often
@given(st.lists(lines, max_size=5).map(lambda rows: "\n".join(rows).encode()), st.data())
def test_any_json_lines(folder: Path, name: str, content: bytes, data: st.DataObject) -> None:
    items_or_error(folder / name, content)
    items_or_error(folder / name, data.draw(damaged(content)))


cells = st.text("ab1|;[]\"', \n\0ü", max_size=5)


@pytest.mark.parametrize("name", ["t.csv", "metadata.csv"])
@often
@given(
    st.lists(st.sampled_from(["id", "image", "text", "labels", "label", "x", ""]), max_size=4),
    st.lists(st.lists(cells, max_size=4), max_size=4),
    st.data(),
)
def test_any_table(
    folder: Path, name: str, header: list[str], rows: list[list[str]], data: st.DataObject
) -> None:
    table = io.StringIO()
    csv.writer(table).writerows([header, *rows])
    content = table.getvalue().encode()
    items_or_error(folder / name, content)
    items_or_error(folder / name, data.draw(damaged(content)))


words = st.text("ab ü|;,\"'\n[", min_size=1, max_size=4).filter(lambda text: bool(text.strip()))
items = st.fixed_dictionaries(
    {"id": words, "text": st.none() | words, "labels": st.lists(words, max_size=3, unique=True)}
)


@often
@given(st.lists(items, min_size=1, max_size=4, unique_by=lambda item: item["id"]))
def test_what_is_written_is_read(folder: Path, rows: list[dict[str, object]]) -> None:
    text = "\n".join(map(json.dumps, rows))
    kept = items_or_error(folder / "items.jsonl", text.encode())
    assert kept is not None
    assert [
        {"id": item.id, "text": item.sources.get("text"), "labels": list(item.labels)}
        for item in kept.items
    ] == rows
    table = io.StringIO()
    writer = csv.DictWriter(table, ["id", "text", "labels"])
    writer.writeheader()
    writer.writerows(row | {"labels": json.dumps(row["labels"])} for row in rows)
    again = items_or_error(folder / "t.csv", table.getvalue().encode())
    assert again is not None
    assert [(item.id, item.sources.get("text"), item.labels) for item in again.items] == [
        (item.id, item.sources.get("text"), item.labels) for item in kept.items
    ]
