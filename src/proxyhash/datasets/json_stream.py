"""The arrays of a JSON object one element at a time, for files larger than memory should hold."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TextIO

from proxyhash.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

__all__ = ["array_elements"]

_CHUNK = 1 << 20  # characters read at a time
_MAX_VALUE = 1 << 24  # characters of one element


def array_elements(path: Path, keys: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Yield each element of the arrays that a JSON object has under `keys`, with its key, in order.

    Peak memory is that of the largest element, whatever the file holds besides.

    Raises:
        DataError: the file cannot be read, or is no JSON object; names the file and character.
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
        """Return the next character that is no white space."""
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
