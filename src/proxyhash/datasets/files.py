"""Finding and reading the files of a data set that strangers packed, within bounds."""

from __future__ import annotations

import codecs
import os
from typing import TYPE_CHECKING

from proxyhash.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["MAX_LINE_BYTES", "find_below", "need_below", "read_bytes", "text_lines"]

MAX_LINE_BYTES = 1 << 20
_DEPTH = 4
_MAX_FOLDERS = 2000


def find_below(folder: Path, name: str) -> Path | None:
    """Return the file or folder called `name`, whatever its case, that lies least deep in `folder`.

    Archives are unpacked with and without a folder of their own, so names are looked for down to
    four folders deep; of several at one depth the first by name is taken. None where there is
    none, or where `folder` is a file.
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
        DataError: "FOLDER has no TagList1k.txt (the names of the tags), nor have the folders in
            it; unpack it there".
    """
    found = find_below(folder, name)
    if found is None:
        raise DataError(
            f"{folder} has no {name} ({what}), nor have the folders in it; unpack it there"
        )
    return found


def text_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file without their ends, each as UTF-8 or else as Latin-1.

    A byte-order mark and white space around a line are taken away; blank lines stay, as "".

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
        raise DataError(f"{path} is larger than {limit:,} bytes, which no such file is")
    return content


def _decode(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")
