"""Lists of ids and other small text files, as people and programs write them."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pytest

from proxyhash.data.text_file import read_ids, read_text_lines
from proxyhash.errors import DataError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_ids_of_every_writer(encoding: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    lines = ["a", " b c \t", "", "ü\u2028x", "a", "  "]
    path.write_bytes(end.join(lines).encode(encoding))
    assert read_ids(path) == ["a", "b c", "ü\u2028x"]
    path.write_bytes((end.join(lines[:2]) + end).encode(encoding))
    assert read_text_lines(path) == ["a", " b c \t"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a\ncaf\xe9\n", "line 2: not UTF-8 text"),
        (b"a\n\n" + b"x" * 513, "line 3: id 'xxxxxxxxxxxxxxxxxxxx' has 513 characters"),
        (b"a\x00b", "line 1: id 'a\\\\x00b' contains a null character"),
    ],
)
def test_what_cannot_be_an_id_is_named(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_ids(path)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / ("x" * 300), "a\0b"):
        with pytest.raises(UsageError, match="cannot be read"):
            read_ids(path)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfa\r\nb \r\n")))
    assert read_ids("-") == ["a", "b"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\ufeffa\nb"))
    assert read_ids("-") == ["a", "b"]
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="standard input is closed"):
        read_ids("-")
