"""Base of the manifest readers: records, the registry, and lines of untrusted text files.

A reader is a function from a manifest's path to its records, in order, decorated with
`register_reader`. Those of this package are the modules beside this one; another package lists its
module in the entry-point group `proxyhash.readers`.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from proxyhash.errors import ManifestError
from proxyhash.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "MAX_LINE_BYTES",
    "READERS",
    "Problem",
    "Reader",
    "Record",
    "Records",
    "read_lines",
    "register_reader",
]


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a manifest: unchecked keys and values of an item."""

    row: int
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Problem:
    """One row that cannot be used, and the reason."""

    row: int
    message: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.message}"


Records: TypeAlias = Iterator[Record | Problem]


@dataclass(frozen=True, slots=True)
class Reader:
    """Reader of one manifest format.

    Attributes:
        name: what `format=` calls it.
        read: path of a manifest -> its rows; raises ManifestError when the file as a whole is bad.
        names: file names that it always reads, also searched for in a folder.
        suffixes: file suffixes that it reads otherwise, in lower case.
        example: one or two lines that show the format.
    """

    name: str
    read: Callable[[Path], Records]
    names: tuple[str, ...]
    suffixes: tuple[str, ...]
    example: str


READERS: Registry[Reader] = Registry(
    "reader", group="proxyhash.readers", modules=["proxyhash.data.readers.*"]
)
"""Every reader by name, those of other packages included."""


def register_reader(
    name: str, *, names: tuple[str, ...] = (), suffixes: tuple[str, ...] = (), example: str = ""
) -> Callable[[Callable[[Path], Records]], Callable[[Path], Records]]:
    """Return a decorator that registers a function as a reader; see `Reader` for the arguments.

    Raises:
        ValueError: another function already has the name.
    """

    def register(read: Callable[[Path], Records]) -> Callable[[Path], Records]:
        READERS.add(name, Reader(name, read, names, suffixes, example))
        return read

    return register


MAX_LINE_BYTES = 1 << 20


def read_lines(path: Path) -> Iterator[tuple[int, str] | Problem]:
    """Yield each line's number (from 1) and its UTF-8 text with line end, or its problem.

    A byte-order mark is removed. Nothing is read after a line longer than `MAX_LINE_BYTES`.

    Raises:
        ManifestError: the file cannot be opened or read.
    """
    try:
        with path.open("rb") as file:
            row = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                row += 1
                if len(line) > MAX_LINE_BYTES:
                    yield Problem(row, f"longer than {MAX_LINE_BYTES:,} bytes; the rest is ignored")
                    return
                if row == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                try:
                    yield row, line.decode("utf-8")
                except UnicodeDecodeError as error:
                    yield Problem(row, f"not UTF-8 text ({error.reason}); save the file as UTF-8")
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror or error}") from error
