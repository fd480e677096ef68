"""Files are found and read within bounds; streamed JSON says what the standard reader says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.datasets import files
from proxyhash.datasets.files import array_elements, find_below, need_below, read_bytes, text_lines
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_the_least_deep_is_found_whatever_the_case(tmp_path: Path) -> None:
    put(tmp_path / "a" / "b" / "tags.txt")
    shallow = put(tmp_path / "z" / "Tags.TXT")
    assert find_below(tmp_path, "tags.txt") == shallow
    assert find_below(tmp_path, "B") == tmp_path / "a" / "b"
    assert find_below(tmp_path, "none.txt") is None
    assert find_below(shallow, "tags.txt") is None


def test_four_folders_deep_and_no_deeper(tmp_path: Path) -> None:
    found = put(tmp_path / "1" / "2" / "3" / "4" / "here.txt")
    put(tmp_path / "1" / "2" / "3" / "4" / "5" / "deeper.txt")
    assert need_below(tmp_path, "here.txt", what="a file") == found
    with pytest.raises(DataError, match=r"and the folders in it have no deeper\.txt \(a file\)"):
        need_below(tmp_path, "deeper.txt", what="a file")


def test_the_search_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        put(tmp_path / str(number) / "file.txt")
    monkeypatch.setattr(files, "_MAX_FOLDERS", 3)
    assert find_below(tmp_path, "file.txt") == tmp_path / "0" / "file.txt"
    assert find_below(tmp_path, "other.txt") is None


def test_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(b"\xef\xbb\xbffirst\r\n\n caf\xc3\xa9\ncaf\xe9")
    assert list(text_lines(path)) == ["first", "", "café", "café"]
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 8)
    path.write_bytes(b"1234567\n123456789\n")
    with pytest.raises(DataError, match=r"lines\.txt, line 2: longer than 8 bytes"):
        list(text_lines(path))


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt cannot be read: No such file"):
        list(text_lines(tmp_path / "none.txt"))
    with pytest.raises(DataError, match=r"none\.txt cannot be read: No such file"):
        read_bytes(tmp_path / "none.txt", limit=5)
    (tmp_path / "large").write_bytes(b"123456")
    assert read_bytes(tmp_path / "large", limit=6) == b"123456"
    with pytest.raises(DataError, match="large is larger than 5 bytes"):
        read_bytes(tmp_path / "large", limit=5)


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
        patch.setattr(files, "_CHUNK", chunk)
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
    monkeypatch.setattr(files, "_CHUNK", 10)
    monkeypatch.setattr(files, "_MAX_VALUE", 30)
    path = tmp_path / "huge.json"
    path.write_text(json.dumps({"a": ["x" * 100]}))
    with pytest.raises(DataError, match="character 8: not valid JSON"):
        list(array_elements(path, ("a",)))
    with pytest.raises(DataError, match=r"none\.json cannot be read"):
        list(array_elements(tmp_path / "none.json", ("a",)))
