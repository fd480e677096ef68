"""Base of the manifest readers: records, the registry, and lines of files that a stranger wrote.

A reader is a function from a manifest's path to its records, in order, decorated with
`register_reader`. Those of this package are the modules beside this one; another package names the
module of its own under the entry-point group `proxyhash.readers`.
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
    """One row of a manifest: the keys and values of an item, not yet checked."""

    row: int
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Problem:
    """One row that cannot be used, and why."""

    row: int
    message: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.message}"


Records: TypeAlias = Iterator[Record | Problem]


@dataclass(frozen=True, slots=True)
class Reader:
    """A way to read manifests.

    Attributes:
        name: what `format=` calls it.
        read: path of a manifest -> its rows; raises ManifestError when the file as a whole is bad.
        names: file names that are always read this way, and looked for in a folder.
        suffixes: file suffixes that are read this way otherwise, in lower case.
        example: one or two lines that show what is expected.
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
    """Yield each line's number (from 1) and text with its line end, or what is wrong with it.

    After a line longer than `MAX_LINE_BYTES` nothing more is read.

    Raises:
        ManifestError: the file cannot be opened or read.
    """
    try:
        with path.open("rb") as file:
            row = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                row += 1
                if len(line) > MAX_LINE_BYTES:
                    yield Problem(row, f"longer than {MAX_LINE_BYTES:,} bytes; nothing read after")
                    return
                if row == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                try:
                    yield row, line.decode("utf-8")
                except UnicodeDecodeError as error:
                    yield Problem(row, f"not UTF-8 text ({error.reason}); save the file as UTF-8")
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror or error}") from error
