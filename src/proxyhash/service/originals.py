"""Original image files of items, opened so that nothing outside their folder is ever read."""

from __future__ import annotations

import io
import os
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from proxyhash.data.contained import read_contained
from proxyhash.errors import ProxyhashError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Original", "Originals", "image_type"]

_SIGNATURES = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftypavif", "image/avif"),
)
"""Formats that every browser shows and none runs: place, bytes there, media type."""

_HEAD = 16
_CHUNK = 256 * 1024
_LONGEST_PATH = 4096


def image_type(head: bytes) -> str | None:
    """Return the media type that a file's first 16 bytes stand for; None for any but images."""
    for place, signature, name in _SIGNATURES:
        if head[place : place + len(signature)] == signature:
            return None if name == "image/webp" and head[:4] != b"RIFF" else name
    return None


@dataclass(frozen=True, eq=False)
class Original:
    """An image file that is open, or one out of another file in memory.

    Attributes:
        file: at its start.
        type: media type, by the file's own first bytes.
        size: in bytes.
        tag: changes with the file.
    """

    file: BinaryIO
    type: str
    size: int
    tag: str

    def chunks(self) -> Iterator[bytes]:
        """Yield the file in parts, as long as it was when it was opened, and close it."""
        with self.file:
            left = self.size
            while left > 0 and (part := self.file.read(min(left, _CHUNK))):
                left -= len(part)
                yield part


class Originals:
    """The folder that items' original images are shown from.

    Args:
        folder: where the paths begin that items name.
        most_bytes: larger files are not shown.

    Raises:
        UsageError: there is no such folder.
    """

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        if not folder.is_dir():
            raise UsageError(
                f"{folder} is not a folder; give the one that the image paths of the manifest "
                "begin in, usually that of the manifest"
            )
        self.root = os.path.realpath(folder)
        self.most_bytes = most_bytes

    def open(self, name: object) -> Original | None:
        """Return the image file under a path that an item names, or None where there is none.

        Only regular files of image formats inside the folder are opened. Links are followed as
        long as they end inside; after that each part of the path is opened without following any,
        so that a link put there meanwhile leads nowhere.
        """
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_PATH:
            return None
        try:
            inside = Path(os.path.realpath(Path(self.root) / name)).relative_to(self.root)
            descriptor = _descend(self.root, inside.parts)
        except NotADirectoryError:
            return self._open_contained(inside)
        except (OSError, ValueError):  # not there, not ours, or a path that no system takes
            return None
        about, type_ = os.fstat(descriptor), None
        try:
            if stat.S_ISREG(about.st_mode) and about.st_size <= self.most_bytes:
                type_ = image_type(os.pread(descriptor, _HEAD, 0))
        except OSError:  # a disk that fails
            type_ = None
        if type_ is None:
            os.close(descriptor)
            return None
        file = os.fdopen(descriptor, "rb", buffering=0)
        return Original(file, type_, about.st_size, f'"{_version(about)}"')

    def _open_contained(self, inside: Path) -> Original | None:
        """Return the image inside the file that a path goes through, or None."""
        for outer in inside.parents[:-1]:
            try:
                descriptor = _descend(self.root, outer.parts)
            except NotADirectoryError:
                continue
            except OSError:
                return None
            try:
                about = os.fstat(descriptor)
                if not stat.S_ISREG(about.st_mode):
                    return None
                content = read_contained(Path(self.root, inside), most=self.most_bytes)
                read = Path(self.root, outer).stat()  # of the file that was read
            except (ProxyhashError, OSError):
                return None
            finally:
                os.close(descriptor)
            type_ = image_type((content or b"")[:_HEAD])
            if content is None or type_ is None or not os.path.samestat(read, about):
                return None
            tag = f'"{_version(about)}-{zlib.crc32(os.fsencode(inside)):x}"'
            return Original(io.BytesIO(content), type_, len(content), tag)
        return None


def _version(about: os.stat_result) -> str:
    return f"{about.st_ino:x}-{about.st_size:x}-{about.st_mtime_ns:x}"


def _descend(root: str, parts: tuple[str, ...]) -> int:
    """Open a file below a folder, part by part, through no link; without waiting for a pipe."""
    if not parts:
        raise ValueError("the folder itself is not a file")
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
