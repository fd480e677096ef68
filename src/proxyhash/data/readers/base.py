"""Base of the manifest readers: records, the registry, and lines of untrusted text files.

A reader is a function from a manifest's path to its records, in order, decorated with
`register_reader`. Those of this package are the modules beside this one; another package lists its
module in the entry-point group `proxyhash.readers`.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, AnyStr, BinaryIO, TypeAlias

from proxyhash.errors import ManifestError
from proxyhash.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "MAX_LINE_BYTES",
    "READERS",
    "SPLITS",
    "Layout",
    "Problem",
    "Reader",
    "Record",
    "Records",
    "Table",
    "encoding_of",
    "not_text",
    "read_lines",
    "register_reader",
    "shard_files",
    "skip_line",
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


SPLITS = frozenset({"train", "test", "query", "val", "valid", "validation", "gallery"})
"""Names of folders and files that say the part of a split."""

Records: TypeAlias = Iterator[Record | Problem]


@dataclass(frozen=True, slots=True)
class Layout:
    """Facts about a whole table, which its reader found before the first row.

    Attributes:
        columns: by key of an item, the column that holds it, where that has another name.
        types: by column, what its cells became: "numbers", "true or false", "dates", ...
        notes: further facts, each a few words, such as "separated by semicolons"; a list may grow
            while rows are read.
        ids_from_images: whether records have no id, which then comes from the image's path.
        classes: names of the class numbers in labels, where the table holds them.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    ids_from_images: bool = False
    classes: tuple[str, ...] = ()


class Table(Iterator[Record | Problem]):
    """The rows of a table, with its layout; a reader may return it instead of an iterator."""

    def __init__(self, rows: Records, layout: Layout) -> None:
        self.layout = layout
        self._rows = rows

    def __next__(self) -> Record | Problem:
        return next(self._rows)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reader of one manifest format.

    Attributes:
        name: what `format=` calls it.
        read: path of a manifest -> its rows; raises ManifestError when the file as a whole is bad.
        names: file names that it always reads, also searched for in a folder.
        suffixes: file suffixes that it reads otherwise, in lower case.
        example: one or two lines that show the format.
        shards: whether several files in a folder, or in folders inside it, are one manifest; `read`
            is then given the folder, and `shard_files` finds them.
    """

    name: str
    read: Callable[[Path], Records]
    names: tuple[str, ...]
    suffixes: tuple[str, ...]
    example: str
    shards: bool = False


READERS: Registry[Reader] = Registry(
    "reader", group="proxyhash.readers", modules=["proxyhash.data.readers.*"]
)
"""Every reader by name, those of other packages included."""


def register_reader(
    name: str,
    *,
    names: tuple[str, ...] = (),
    suffixes: tuple[str, ...] = (),
    example: str = "",
    shards: bool = False,
) -> Callable[[Callable[[Path], Records]], Callable[[Path], Records]]:
    """Return a decorator that registers a function as a reader; see `Reader` for the arguments.

    Raises:
        ValueError: another function already has the name.
    """

    def register(read: Callable[[Path], Records]) -> Callable[[Path], Records]:
        READERS.add(name, Reader(name, read, names, suffixes, example, shards))
        return read

    return register


def shard_files(path: Path, suffixes: Sequence[str]) -> list[tuple[Path, str | None]]:
    """Return the files of a manifest in shards, in order of their names, each with its split.

    That is the name of a folder, or what a file's name begins with, such as `train` in
    `train-00000-of-00008.parquet`; None for all unless there are two different ones.

    Args:
        path: one file, or a folder, in which files and folders that begin with a point are ignored.
        suffixes: of the files, in lower case.

    Raises:
        ManifestError: there is no such file.
    """
    if path.is_file():
        return [(path, None)]
    files = [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() in suffixes
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    if not files:
        raise ManifestError(f"{path} has no file that ends in {' or '.join(suffixes)}")
    splits = [_split_of(file.relative_to(path)) for file in files]
    several = len(set(splits)) > 1
    return [(file, split if several else None) for file, split in zip(files, splits, strict=True)]


def _split_of(file: Path) -> str | None:
    names = [part.lower() for part in file.parts[:-1]] + [re.split(r"[-_.]", file.name.lower())[0]]
    return next((name for name in names if name in SPLITS), None)


MAX_LINE_BYTES = 1 << 20
"""Longest line that is read, and longest cell of a table."""

_MAX_SKIPPED_BYTES = 64 * MAX_LINE_BYTES
_WIDE = {  # the byte-order marks of encodings other than UTF-8, the longer ones first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def encoding_of(head: bytes) -> str:
    """Return the encoding that a file's first four bytes tell: UTF-8 without any mark."""
    for mark, encoding in _WIDE.items():
        if head.startswith(mark):
            return encoding
    return "utf-8-sig" if head.startswith(codecs.BOM_UTF8) else "utf-8"


def read_lines(path: Path) -> Iterator[tuple[int, str] | Problem]:
    """Yield each line's number (from 1) and its text with line end, or its problem.

    The text is UTF-8, or UTF-16 or UTF-32 with a byte-order mark; the mark is removed. A line
    longer than `MAX_LINE_BYTES` is a problem, and the next one is read.

    Raises:
        ManifestError: the file cannot be opened or read.
    """
    try:
        with path.open("rb") as file:
            encoding = encoding_of(file.peek(4)[:4])
            if encoding.startswith("utf-8"):
                yield from _utf8_lines(file)
            else:
                text = io.TextIOWrapper(file, encoding=encoding, errors="replace", newline="\n")
                for row, line in enumerate(iter(lambda: text.readline(MAX_LINE_BYTES), ""), 1):
                    yield (row, line) if "\ufffd" not in line else Problem(row, not_text(encoding))
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ManifestError(f"{path} cannot be read: {reason}") from error


def not_text(encoding: str) -> str:
    """Return the sentence for bytes that are not text in an encoding."""
    name = encoding.removesuffix("-sig").upper()
    return f"not {name} text; save the file as UTF-8"


def _utf8_lines(file: BinaryIO) -> Iterator[tuple[int, str] | Problem]:
    row = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        row += 1
        if len(line) > MAX_LINE_BYTES:
            ended = skip_line(file, line)
            rest = "" if ended else "; the rest is ignored"
            yield Problem(row, f"longer than {MAX_LINE_BYTES:,} bytes{rest}")
            if not ended:
                return
            continue
        if row == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        try:
            yield row, line.decode("utf-8")
        except UnicodeDecodeError as error:
            yield Problem(row, f"not UTF-8 text ({error.reason}); save the file as UTF-8")


def skip_line(file: IO[AnyStr], piece: AnyStr) -> bool:
    """Read to the end of the line that `piece` begins; return False if it does not end for long."""
    ends = ("\n", "\r") if isinstance(piece, str) else (b"\n",)
    left = _MAX_SKIPPED_BYTES
    while piece and not piece.endswith(ends) and left > 0:
        piece = file.readline(MAX_LINE_BYTES)
        left -= len(piece)
    return left > 0
