"""Key files of anything: keys come out, or an error that names the file."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyhash.errors import DataError
from proxyhash.service.keys import KeyFile

if TYPE_CHECKING:
    from pathlib import Path

often = settings(max_examples=200, deadline=None, derandomize=True)

HASH = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


def keys_or_error(path: Path, content: bytes) -> KeyFile | None:
    path.write_bytes(content)
    try:
        file = KeyFile.read(path)
    except DataError as error:
        if path.name not in str(error):
            raise
        return None
    assert file.find("phk_anything") is None
    path.write_text(json.dumps({"keys": [asdict(key) for key in file.keys]}))
    assert KeyFile.read(path).keys == file.keys
    return file


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["read", "write", "admin", HASH, HASH.upper(), HASH + "\n", "", "\ud800"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=3,
)
good = st.fixed_dictionaries(
    {
        "name": st.text(max_size=5),
        "scope": st.sampled_from(["read", "write"]),
        "sha256": st.just(HASH),
        "created": st.text(max_size=5),
    }
)
bad = st.dictionaries(
    st.sampled_from(["name", "scope", "sha256", "created", "path", "\ud800"]), values
)
rows = good | bad | values


@often
@given(st.lists(rows, max_size=3), st.data())
def test_any_rows(path: Path, rows: list[object], data: st.DataObject) -> None:
    whole = json.dumps({"keys": rows}).encode()
    keys_or_error(path, whole)
    place = data.draw(st.integers(0, len(whole)))
    keys_or_error(path, whole[:place] + data.draw(st.binary(max_size=3)) + whole[place + 1 :])


@often
@given(st.lists(good, max_size=3))
def test_good_rows_are_read(path: Path, rows: list[dict[str, str]]) -> None:
    file = keys_or_error(path, json.dumps({"keys": rows}).encode())
    assert file is not None
    assert [asdict(key) for key in file.keys] == rows


@often
@given(st.binary(max_size=60))
def test_any_bytes(path: Path, content: bytes) -> None:
    assert keys_or_error(path, content) is None


@pytest.mark.parametrize("content", [b"[" * 100_000, b"9" * 5000, b'{"keys": ' * 2000])
def test_json_that_python_cannot_hold(path: Path, content: bytes) -> None:
    assert keys_or_error(path, content) is None
