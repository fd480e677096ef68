"""A file of rows that are appended and never changed, with a checksum for every block of them.

How many rows count is recorded elsewhere (in the database, which commits after the rows were
flushed to the disk); what lies beyond is left over from a write that never ended, and is written
over by the next one.
"""

from __future__ import annotations

import os
import zlib
from mmap import ACCESS_READ, mmap
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from proxyhash.errors import DataError
from proxyhash.files import regular_handle
from proxyhash.index.store.disk import disk_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["BLOCK_ROWS", "RowLog", "checksums"]

BLOCK_ROWS = 4096
"""Rows that share a checksum."""


class RowLog:
    """Rows of one width in a file.

    Args:
        path: the file.
        dtype: the kind of number.
        width: numbers in a row.
        write: whether rows will be appended.

    Attributes:
        row_bytes: bytes of a row.
    """

    def __init__(
        self, path: Path, *, dtype: type[np.generic], width: int, write: bool = False
    ) -> None:
        self.path = path
        self.name = path.name
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._width = width
        self.row_bytes = self._dtype.itemsize * width
        flags = os.O_RDWR | os.O_CREAT if write else os.O_RDONLY
        try:
            self._file = regular_handle(path, flags)
        except FileNotFoundError as error:
            raise DataError(f"{path} is missing; {NEXT_STEP}") from error
        self._salvaged: npt.NDArray[Any] | None = None
        self._mapped: npt.NDArray[Any] = np.empty((0, width), self._dtype)

    def close(self) -> None:
        """Close the file; arrays that map it stay usable."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self._mapped = self._mapped[:0]

    def whole_rows(self) -> int:
        """Return how many rows the file has room for."""
        return os.fstat(self._file).st_size // self.row_bytes

    def check(self, rows: int) -> None:
        """Refuse a file that is too short for its rows.

        Raises:
            DataError: "FILE ends after row 7 of 9; ...".
        """
        there = self.whole_rows()
        if there < rows and not self.salvaged:
            raise DataError(f"{self.path} ends after row {there} of {rows}; {NEXT_STEP}")

    def append(self, rows: npt.NDArray[Any], *, at: int) -> None:
        """Write rows behind the first `at` ones and flush them to the disk."""
        content = _bytes(np.ascontiguousarray(rows, self._dtype))
        place = at * self.row_bytes
        with disk_errors(self.path):
            while content:
                written = os.pwrite(self._file, content, place)
                content, place = content[written:], place + written
            os.fsync(self._file)

    def cut(self, rows: int) -> None:
        """Drop what lies behind the first `rows` rows."""
        if os.fstat(self._file).st_size > rows * self.row_bytes:
            os.ftruncate(self._file, rows * self.row_bytes)

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows in memory, shape (stop - start, width).

        Raises:
            DataError: the file is too short.
        """
        if self._salvaged is not None:
            return self._salvaged[start:stop]
        result = np.empty((stop - start, self._width), self._dtype)
        rest, place = _bytes(result), start * self.row_bytes
        while rest:
            got = os.preadv(self._file, [rest], place)
            if not got:
                self.check(stop)
            rest, place = rest[got:], place + got
        return result

    def map(self, rows: int) -> npt.NDArray[Any]:
        """Return the first rows, memory-mapped for reading, shape (rows, width)."""
        if self._salvaged is not None:
            return self._salvaged[:rows]
        self.check(rows)  # touching a page behind the end of a file would end the process
        if rows > len(self._mapped):
            mapped = mmap(self._file, rows * self.row_bytes, access=ACCESS_READ)
            self._mapped = np.frombuffer(mapped, self._dtype).reshape(rows, self._width)
        return self._mapped[:rows]

    @property
    def salvaged(self) -> bool:
        """Whether what is left was read into memory."""
        return self._salvaged is not None

    def salvage(self, rows: int) -> None:
        """Read what is left into memory, with zeros for what is lost; the file is left alone."""
        content = np.zeros((rows, self._width), self._dtype)
        there = min(rows, self.whole_rows())
        content[:there] = self.read(0, there)
        self._salvaged = content

    def replace_salvaged(self, start: int, rows: npt.NDArray[Any]) -> None:
        """Put other rows in the place of some of those that were read into memory."""
        assert self._salvaged is not None
        self._salvaged[start : start + len(rows)] = rows

    def blocks(self, rows: int) -> Iterator[tuple[int, int]]:
        """Return the number and the checksum of every block as it is on the disk.

        Blocks that the file has lost a part of are left out.
        """
        there = min(rows, self.whole_rows())
        for block in range(-(-rows // BLOCK_ROWS)):
            start, stop = block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, rows)
            if stop <= there:
                yield block, zlib.crc32(_bytes(self.read(start, stop)))


def checksums(rows: npt.NDArray[Any], *, at: int, before: int) -> list[tuple[int, int]]:
    """Return the blocks that appending rows changes, with their new checksums.

    Args:
        rows: what is appended, little-endian.
        at: how many rows there were.
        before: the checksum of the block that was not full, 0 when there is none.
    """
    result = []
    rows = np.ascontiguousarray(rows)
    start = 0
    while start < len(rows):
        block = (at + start) // BLOCK_ROWS
        stop = min(len(rows), (block + 1) * BLOCK_ROWS - at)
        result.append((block, zlib.crc32(_bytes(rows[start:stop]), before)))
        start, before = stop, 0
    return result


def _bytes(rows: npt.NDArray[Any]) -> memoryview:
    """Return the memory of an array whose rows lie side by side."""
    return rows.reshape(-1).view(np.uint8).data


NEXT_STEP = (
    "restore a snapshot, or save what is readable with "
    "`proxyhash index snapshot INDEX ANOTHER --salvage`"
)
