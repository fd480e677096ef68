"""Files inside tar shards, Parquet tables and Arrow files, named by a path below these.

    shards/0001.tar/000123.jpg       a member of the tar file
    train.parquet/image/17           column `image` of row 17, counted from 1
    train/data.arrow/image/17        the same of an Arrow file, as `datasets` saves it

A path that goes on below a file means nothing to the system, so nothing else is hidden by it. Files
are opened where they are and read in place: nothing is unpacked, no link is followed, nothing is
unpickled. A list of a tar file's members, and the last column parts read, stay in memory.
"""

from __future__ import annotations

import hashlib
import tarfile
import threading
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from proxyhash.errors import SourceError, require_extra
from proxyhash.files import sha256_file

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "ARROW_SUFFIX",
    "PARQUET_SUFFIXES",
    "TAR_SUFFIX",
    "Member",
    "content_hash",
    "exists_in",
    "has_content",
    "open_arrow",
    "read_contained",
    "stamp_of",
    "tar_members",
]

TAR_SUFFIX, ARROW_SUFFIX, PARQUET_SUFFIXES = ".tar", ".arrow", (".parquet", ".pq")
MAX_HEADER_BYTES = 1 << 20
"""Longest header of a tar file that is read, such as one with a long name."""

MAX_GROUP_BYTES = 1 << 30
"""Largest part of a Parquet column that is read at once."""

_ANY = 2**40
_COMPRESSED = {
    b"\x1f\x8b": "gunzip",
    b"BZ": "bunzip2",
    b"\xfd7zXZ": "unxz",
    b"\x28\xb5\x2f\xfd": "zstd -d",
}
_lock = threading.RLock()


_TAR_ERRORS = (
    tarfile.TarError, UnicodeError, ValueError, OverflowError, EOFError,
    RecursionError,  # headers about headers about headers
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in a tar file.

    Attributes:
        name: its path there.
        start: where its content begins, in bytes.
        size: of its content, in bytes.
    """

    name: str
    start: int
    size: int


class _Headers:
    """A tar file that gives headers, and no more than `MAX_HEADER_BYTES` at once."""

    def __init__(self, file: Any) -> None:
        self.tell, self.seek, self._file = file.tell, file.seek, file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header has {size:,} bytes")
        content: bytes = self._file.read(size)
        return content


def tar_members(path: Path, *, others: Counter[str] | None = None) -> Iterator[Member]:
    """Yield the regular files of a tar file, in its order; links, devices and folders are not.

    Names are those of the files after unpacking: "./a.jpg" and "/a.jpg" are both "a.jpg".

    Args:
        path: the tar file.
        others: where links and devices are counted, as "links".

    Raises:
        SourceError: "PATH is compressed; ...", or it is not a tar file or ends too early.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if not (head := file.read(8)):
            return
        for magic, command in _COMPRESSED.items():
            if head.startswith(magic):
                raise SourceError(
                    f"{path} is compressed, so its files cannot be read one by one; unpack it to a "
                    f"plain .tar with {command}"
                )
        file.seek(0)
        try:
            with tarfile.open(fileobj=_Headers(file), mode="r:") as tar:  # type: ignore[call-overload]
                while (entry := tar.next()) is not None:
                    tar.members.clear()  # else it keeps them all
                    if entry.size < 0:  # which leads back to an earlier header, for ever
                        raise tarfile.ReadError(f"a file has {entry.size:,} bytes")
                    if entry.isreg() and not entry.issparse():
                        name = PurePosixPath(entry.name).as_posix().lstrip("/")
                        yield Member(name, entry.offset_data, entry.size)
                    elif others is not None and not entry.isdir():
                        others["links"] += 1
                file.seek(tar.offset)  # where tarfile stops without a word, also at damage
                if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    raise tarfile.ReadError("it ends too early, or is damaged")
        except _TAR_ERRORS as error:
            raise SourceError(f"{path} cannot be read to its end as a tar file: {error}") from error


def read_contained(path: Path, *, most: int) -> bytes | None:
    """Return the content of a file inside another, or None where no container is on the path.

    Args:
        path: as at the top.
        most: largest content, in bytes.

    Raises:
        SourceError: "there is no such file in CONTAINER", or the reason why it cannot be read.
    """
    found = _split(path)
    if found is None:
        return None
    container, name = found
    suffix = container.suffix.lower()
    try:
        if suffix == TAR_SUFFIX:
            return _read_member(container, name, most)
        column, _, row = name.rpartition("/")
        if not column or not (row.isascii() and row.isdecimal()):
            raise SourceError(f"no such file in {container.name}")
        read = _arrow_cell if suffix == ARROW_SUFFIX else _parquet_cell
        content = read(container, column, int(row) - 1)
    except OSError as error:
        raise SourceError(f"cannot be read ({error.strerror or error})") from error
    if content is None:
        raise SourceError(f"no such file in {container.name}")
    if len(content) > most:
        raise SourceError(_too_large(len(content), most))
    return content


def has_content(path: Path) -> bool:
    """Return whether there is a file that is not empty at a path, or inside another file.

    Raises:
        OSError: nobody may look.
    """
    return path.stat().st_size > 0 if path.is_file() else exists_in(path)


def exists_in(path: Path) -> bool:
    """Return whether a path leads to a file inside another one."""
    if (found := _split(path)) is None:
        return False
    try:
        if found[0].suffix.lower() == TAR_SUFFIX:
            return found[1] in _places(found[0])
        return bool(read_contained(path, most=_ANY))
    except (SourceError, OSError):
        return False


def stamp_of(path: Path) -> tuple[int, int]:
    """Return size and time of modification of a file; of the outer one for a file inside another.

    Raises:
        OSError: there is none.
    """
    try:
        found = path.stat()
    except NotADirectoryError:
        if (split := _split(path)) is None:
            raise
        found = split[0].stat()
    return found.st_size, found.st_mtime_ns


def content_hash(path: Path) -> str:
    """Return the hex SHA-256 of the content of a file, or of one inside another.

    Raises:
        SourceError: as `read_contained`.
        OSError: it cannot be read.
    """
    try:
        return sha256_file(path)
    except NotADirectoryError:
        content = read_contained(path, most=_ANY)
        if content is None:
            raise
        return hashlib.sha256(content).hexdigest()


def open_arrow(path: Path) -> Any:
    """Return the table of an Arrow file, mapped into memory: a stream or a file of that format.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not one.
    """
    pa = require_extra("pyarrow", extra="formats", purpose=f"reading {path.name}")
    try:
        with pa.memory_map(str(path)) as mapped:
            try:
                return pa.ipc.open_stream(mapped).read_all()
            except pa.ArrowInvalid:
                return pa.ipc.open_file(mapped).read_all()
    except pa.ArrowException as error:
        raise ValueError(f"{path.name} is not an Arrow file ({error})") from error


def _split(path: Path) -> tuple[Path, str] | None:
    """Return the container on a path and the name in it; None where there is none."""
    suffixes = (TAR_SUFFIX, ARROW_SUFFIX, *PARQUET_SUFFIXES)
    for outer in path.parents:
        if outer.suffix.lower() in suffixes and outer.is_file():
            return outer, path.relative_to(outer).as_posix()
    return None


def _too_large(size: int, most: int) -> str:
    return f"the file has {size / 1e6:,.0f} MB; at most {most / 1e6:,.0f} MB are read"


def _read_member(path: Path, name: str, most: int) -> bytes:
    places = _places(path)
    if name not in places:
        raise SourceError(f"no such file in {path.name}")
    start, size = places[name]
    if size > most:
        raise SourceError(_too_large(size, most))
    with path.open("rb") as file:
        file.seek(start)
        content = file.read(size)
    if len(content) < size:
        raise SourceError(f"{path.name} ends before the file does")
    return content


def _places(path: Path) -> dict[str, tuple[int, int]]:
    with _lock:  # whoever waits finds the list
        return _tar_places(path, stamp_of(path))


@lru_cache(maxsize=64)
def _tar_places(path: Path, _stamp: tuple[int, int]) -> dict[str, tuple[int, int]]:
    places: dict[str, tuple[int, int]] = {}
    try:
        for member in tar_members(path):
            places.setdefault(member.name, (member.start, member.size))
    except SourceError:  # what comes before the damage can be read
        if not places:
            raise
    return places


def _arrow_cell(path: Path, column: str, row: int) -> bytes | None:
    with _lock:
        try:
            table = _arrow_table(path, stamp_of(path))
        except ValueError as error:
            raise SourceError(str(error)) from error
    if column not in table.schema.names or not 0 <= row < table.num_rows:
        return None
    return _content(table.column(column)[row])


_arrow_table = lru_cache(maxsize=256)(lambda path, _stamp: open_arrow(path))


def _parquet_cell(path: Path, column: str, row: int) -> bytes | None:
    pa = require_extra("pyarrow", extra="formats", purpose=f"reading {path.name}")
    stamp = stamp_of(path)
    with _lock:
        try:
            starts, names = _parquet_groups(path, stamp)
            if column not in names or not 0 <= row < starts[-1]:
                return None
            group = bisect_right(starts, row) - 1
            cells = _parquet_column(path, stamp, column, group)
        except (ValueError, pa.ArrowException) as error:
            raise SourceError(f"{path.name} cannot be read as Parquet: {error}") from error
    return _content(cells[row - starts[group]])


@lru_cache(maxsize=256)
def _parquet_groups(path: Path, _stamp: tuple[int, int]) -> tuple[list[int], frozenset[str]]:
    """Return the first row of each row group, then the number of rows; and the columns."""
    parquet = require_extra("pyarrow.parquet", extra="formats", purpose=f"reading {path.name}")
    with parquet.ParquetFile(path) as file:
        starts = [0]
        for group in range(file.metadata.num_row_groups):
            starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
        return starts, frozenset(file.schema_arrow.names)


@lru_cache(maxsize=4)
def _parquet_column(path: Path, _stamp: tuple[int, int], column: str, group: int) -> Any:
    parquet = require_extra("pyarrow.parquet", extra="formats", purpose=f"reading {path.name}")
    with parquet.ParquetFile(path) as file:
        part = file.metadata.row_group(group)
        parts = (part.column(place) for place in range(part.num_columns))
        size = sum(
            each.total_uncompressed_size
            for each in parts
            if each.path_in_schema.partition(".")[0] == column
        )
        if size > MAX_GROUP_BYTES:
            raise SourceError(
                f"the images of a row group of {path.name} have {size / 1e9:.1f} GB; write the "
                "file again with smaller row groups, such as row_group_size=1000"
            )
        return file.read_row_group(group, columns=[column]).column(column)


def _content(cell: Any) -> bytes | None:
    """Return the bytes of a cell, or of the field `bytes` of one of `datasets`."""
    value = cell.as_py()
    if isinstance(value, dict):
        value = value.get("bytes")
    return value if isinstance(value, bytes) else None
