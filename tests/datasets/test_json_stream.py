"""Streamed JSON says what the standard reader says, and what is wrong with a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.datasets import json_stream
from proxyhash.datasets.json_stream import array_elements
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=4), below),
    max_leaves=12,
)


@given(
    content=st.dictionaries(st.sampled_from(["a", "b", "c", "é"]), VALUES),
    indent=st.none() | st.integers(0, 3),
    chunk=st.integers(1, 9),
)
def test_elements_are_those_of_the_whole(
    content: dict[str, Any],
    indent: int | None,
    chunk: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.getbasetemp() / "streamed.json"
    path.write_text(json.dumps(content, indent=indent), encoding="utf-8")
    expected = [
        (key, element)
        for key, value in content.items()
        if key in ("a", "é") and isinstance(value, list)
        for element in value
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK", chunk)
        assert list(array_elements(path, ("a", "é"))) == expected


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "character 1: the file ends too early"),
        (b"[1]", "character 1: { is expected"),
        (b'{"a": [1, 2', "the file ends too early"),
        (b'{"a": [1 2]}', r"character 10: , or \] is expected"),
        (b'{"a": [{"x": }]}', r"character 8: not valid JSON"),
        (b'{"a" 1}', "character 6: : is expected"),
        (b'{"a": ["\xff"]}', "is not UTF-8 text"),
        (b'{"a": [' + b"[" * 100_000, "nested too deep|not valid JSON"),
    ],
)
def test_damage_is_named(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"bad\.json.*({says})"):
        list(array_elements(path, ("a",)))


def test_an_element_of_absurd_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", 10)
    monkeypatch.setattr(json_stream, "_MAX_VALUE", 30)
    path = tmp_path / "huge.json"
    path.write_text(json.dumps({"a": ["x" * 100]}))
    with pytest.raises(DataError, match="character 8: not valid JSON"):
        list(array_elements(path, ("a",)))
    with pytest.raises(DataError, match=r"none\.json cannot be read"):
        list(array_elements(tmp_path / "none.json", ("a",)))
