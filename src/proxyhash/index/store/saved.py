"""Sizes and checksums of saved search structures, which are made again where they are damaged."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from proxyhash.errors import DataError
from proxyhash.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["check_sizes", "find_damaged", "note_files"]

_NOTE = "files.json"
_CHUNK = 1 << 20


def note_files(folder: Path) -> None:
    """Write down the size and the checksum of every file in a folder."""
    noted = {
        path.relative_to(folder).as_posix(): [path.stat().st_size, _checksum(path)]
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    write_json(folder / _NOTE, noted)


def check_sizes(folder: Path) -> None:
    """Refuse a folder whose files are not as long as they were, before they are mapped.

    Raises:
        DataError: "FILE has 7 bytes, not 9".
    """
    for path, size, _ in _noted(folder):
        there = path.stat().st_size if path.is_file() else 0
        if there != size:
            raise DataError(f"{path} has {there} bytes, not {size}")


def find_damaged(folder: Path) -> list[str]:
    """Return what is wrong with a folder's files, a sentence each."""
    try:
        check_sizes(folder)
        return [
            f"{path}: the checksum does not fit; `proxyhash index compact` makes it again"
            for path, _, checksum in _noted(folder)
            if _checksum(path) != checksum
        ]
    except DataError as error:
        return [f"{error}; `proxyhash index compact` makes it again"]


def _noted(folder: Path) -> Iterator[tuple[Path, int, int]]:
    path = folder / _NOTE
    noted = read_json(path)
    if not isinstance(noted, dict):
        raise DataError(f"{path} is damaged")
    for name, entry in noted.items():
        match entry:
            case [int(size), int(checksum)]:
                yield folder / name, size, checksum
            case _:
                raise DataError(f"{path} is damaged")


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
