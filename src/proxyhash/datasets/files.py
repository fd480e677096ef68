"""Finding and reading files of unknown origin, within bounds."""

from __future__ import annotations

import codecs
import json
import os
from typing import TYPE_CHECKING, Any, TextIO

from proxyhash.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

__all__ = [
    "MAX_LINE_BYTES",
    "array_elements",
    "find_below",
    "need_below",
    "read_bytes",
    "text_lines",
]

MAX_LINE_BYTES = 1 << 20
_DEPTH = 4
_MAX_FOLDERS = 2000


def find_below(folder: Path, name: str) -> Path | None:
    """Return the least deep file or folder in `folder` that is called `name`, in any case.

    Archives are unpacked with and without a folder around them, so names are searched down to four
    folders deep; of several at one depth the first by name is taken. None if there is none, or if
    `folder` is a file.
    """
    level, opened = [folder], 0
    for _ in range(_DEPTH + 1):
        below: list[Path] = []
        for place in level:
            opened += 1
            if opened > _MAX_FOLDERS:
                return None
            try:
                with os.scandir(place) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except OSError:
                continue
            for entry in found:
                if entry.name.lower() == name.lower():
                    return place / entry.name
            below.extend(place / entry.name for entry in found if entry.is_dir())
        level = below
    return None


def need_below(folder: Path, name: str, *, what: str) -> Path:
    """Return `find_below`.

    Raises:
        DataError: "FOLDER and the folders in it have no TagList1k.txt (the names of the tags);
            unpack it there".
    """
    found = find_below(folder, name)
    if found is None:
        raise DataError(f"{folder} and the folders in it have no {name} ({what}); unpack it there")
    return found


def text_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file without their ends, each as UTF-8 or else as Latin-1.

    A byte-order mark and white space around a line are stripped; blank lines stay, as "".

    Raises:
        DataError: the file cannot be read, or a line is longer than `MAX_LINE_BYTES`.
    """
    try:
        with path.open("rb") as file:
            row = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                row += 1
                if len(line) > MAX_LINE_BYTES:
                    raise DataError(f"{path}, line {row}: longer than {MAX_LINE_BYTES:,} bytes")
                if row == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                yield _decode(line).strip()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def read_bytes(path: Path, *, limit: int) -> bytes:
    """Return the content of a file.

    Raises:
        DataError: the file cannot be read, or is larger than `limit` bytes.
    """
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > limit:
        raise DataError(f"{path} is larger than {limit:,} bytes, the limit for such a file")
    return content


def _decode(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


_CHUNK = 1 << 20  # characters read at a time
_MAX_VALUE = 1 << 24  # characters of one element


def array_elements(path: Path, keys: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Yield each element of the arrays that a JSON object has under `keys`, with its key, in order.

    Peak memory is that of the largest element, however large the file is.

    Raises:
        DataError: the file cannot be read, or is not a JSON object; names the file and character.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from _members(_Scanner(path, file), keys)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason})") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _members(scanner: _Scanner, keys: Collection[str]) -> Iterator[tuple[str, Any]]:
    scanner.take("{")
    if scanner.peek() == "}":
        return
    while True:
        key = scanner.value()
        scanner.take(":")
        if scanner.peek() != "[":
            scanner.value()
        else:
            for element in _elements(scanner):
                if key in keys:
                    yield key, element
        if scanner.take(",}") == "}":
            return


def _elements(scanner: _Scanner) -> Iterator[Any]:
    scanner.take("[")
    if scanner.peek() == "]":
        scanner.take("]")
        return
    while True:
        yield scanner.value()
        if scanner.take(",]") == "]":
            return


class _Scanner:
    """A window that moves over the text of a JSON file."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path, self._file = path, file
        self._text, self._at, self._before = "", 0, 0
        self._decode = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """Return the next character that is not white space."""
        while True:
            while self._at < len(self._text):
                if not self._text[self._at].isspace():
                    return self._text[self._at]
                self._at += 1
            if not self._read():
                raise self._error("the file ends too early")

    def take(self, allowed: str) -> str:
        """Step over the next character, which must be one of `allowed`."""
        found = self.peek()
        if found not in allowed:
            raise self._error(f"{' or '.join(allowed)} is expected")
        self._at += 1
        return found

    def value(self) -> Any:
        """Step over the next value and return it."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except ValueError as error:
                end, problem = len(self._text), str(error)
            except RecursionError as error:
                raise self._error("nested too deep") from error
            else:
                problem = "the file ends too early"
                if end < len(self._text):
                    self._at = end
                    return value
            # The value may go on behind the window: a cut number is a valid one.
            if end - self._at > _MAX_VALUE or not self._read():
                raise self._error(f"not valid JSON ({problem})")

    def _read(self) -> bool:
        more = self._file.read(_CHUNK)
        self._before += self._at
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)

    def _error(self, problem: str) -> DataError:
        return DataError(f"{self._path}, character {self._before + self._at + 1}: {problem}")
