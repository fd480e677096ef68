"""One file of the pixel cache: the decoded images of some files, written once, never changed.

The format is safetensors: `keys`, uint8 (n, 32), the SHA-256 of each image's file; `sizes`, int32
(n, 2), its width and height before resizing; `sums`, uint32 (n,), the CRC-32 of its pixels;
`pixels`, uint8 (n, ...). The checksum in the header is over the first three.

Pixels are read with ordinary calls, not mapped: if another program cut the file short, touching a
mapped page would end this process. A mapping would save some five microseconds per image.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
import zlib
from collections import OrderedDict
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.errors import DataError
from proxyhash.files import open_regular, regular_handle, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "ABANDONED_SECONDS",
    "SUFFIX",
    "DamagedShardError",
    "OpenFiles",
    "PixelShard",
    "claim_shard",
    "in_use",
    "shard_bytes",
    "shard_name",
    "write_shard",
]

SUFFIX = ".safetensors"
ABANDONED_SECONDS = 24 * 3600.0
"""Age at which a temporary file or lock is that of a killed process."""

_HEADER_BYTES = 100_000
_MOST_HEADER = 640  # bytes of the header of any shard
_MOST_OPEN = 256  # shards whose file is kept open
_MALFORMED = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
)
_TABLES: dict[str, np.dtype[Any]] = {
    "keys": np.dtype(np.uint8),
    "sizes": np.dtype("<i4"),
    "sums": np.dtype("<u4"),
}
_NAMES = {"keys": "U8", "sizes": "I32", "sums": "U32", "pixels": "U8"}


class DamagedShardError(Exception):
    """A shard that cannot be used, or a row of it."""


def shard_name(keys: list[bytes]) -> str:
    """Return the file name of the shard that has these keys: two processes choose the same."""
    return hashlib.sha256(b"".join(keys)).hexdigest()[:32] + SUFFIX


def shard_bytes(count: int, shape: tuple[int, ...]) -> int:
    """Return the bytes that a shard of so many images takes at most."""
    return _MOST_HEADER + count * (44 + math.prod(shape))


def write_shard(
    path: Path, keys: list[bytes], sizes: NDArray[np.int32], pixels: NDArray[np.uint8]
) -> None:
    """Write a shard atomically.

    Args:
        path: the file.
        keys: of each image, 32 bytes.
        sizes: width and height of each image, (n, 2).
        pixels: (n, ...), contiguous.
    """
    arrays: dict[str, NDArray[Any]] = {
        "keys": np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32),
        "sizes": np.ascontiguousarray(sizes, _TABLES["sizes"]),
        "sums": np.array([zlib.crc32(row) for row in pixels], _TABLES["sums"]),
        "pixels": pixels,
    }
    header: dict[str, Any] = {"__metadata__": {"sha256": _checksum(arrays)}}
    place = 0
    for name, array in arrays.items():
        offsets = [place, place := place + array.nbytes]
        header[name] = {"dtype": _NAMES[name], "shape": array.shape, "data_offsets": offsets}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with write_atomic(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(array.data)


class PixelShard:
    """A shard that is read: its tables at once, each row's pixels when they are wanted.

    Attributes:
        path: the file.
        keys: the SHA-256 of each image's file.
        sizes: int32 (n, 2), width and height of each image.
    """

    def __init__(self, path: Path, *, shape: tuple[int, ...], files: OpenFiles) -> None:
        """Open a shard whose images have this shape; its file is kept open in `files`.

        Raises:
            FileNotFoundError: another process has removed it.
            DamagedShardError: it cannot be used.
        """
        self.path = path
        self._files = files
        self._shape, self._bytes = shape, math.prod(shape)
        handle = self._open()
        try:
            count, places, checksum = self._layout(handle.number)
            tables = {
                name: np.frombuffer(handle.read(*places[name]), dtype)
                for name, dtype in _TABLES.items()
            }
            if _checksum(tables) != checksum:
                raise ValueError("its tables do not match their checksum")
            keys = tables["keys"].tobytes()
            self.keys = [keys[32 * row : 32 * row + 32] for row in range(count)]
            self.sizes: NDArray[np.int32] = tables["sizes"].reshape(count, 2)
            self._checked = np.zeros(count, np.bool_)
        except (OSError, *_MALFORMED) as error:
            files.drop(path)
            raise DamagedShardError(str(error) or type(error).__name__) from error
        self._sums, self._start = tables["sums"], places["pixels"][0]

    def read(self, row: int, out: NDArray[np.uint8]) -> None:
        """Read the pixels of one image into `out`, contiguous; their checksum the first time.

        Raises:
            FileNotFoundError: another process has removed the file.
            DamagedShardError: they are not as they were written.
        """
        try:
            handle = self._files.get(self.path) or self._open()
            handle.read_into(self._start + row * self._bytes, out.data.cast("B"))
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            raise DamagedShardError(str(error) or type(error).__name__) from error
        if not self._checked[row]:
            if zlib.crc32(out.data) != self._sums[row]:
                raise DamagedShardError(f"image {row + 1} of it does not match its checksum")
            self._checked[row] = True

    def _open(self) -> _Handle:
        try:
            with open_regular(self.path) as file:
                handle = _Handle(os.dup(file.fileno()))
        except FileNotFoundError:
            raise
        except (OSError, DataError) as error:
            raise DamagedShardError(str(error)) from error
        self._files.put(self.path, handle)
        return handle

    def _layout(self, number: int) -> tuple[int, dict[str, tuple[int, int]], str]:
        """Return the number of rows, each array's place and length, and the checksum."""
        length = int.from_bytes(os.pread(number, 8, 0), "little")
        if length > _HEADER_BYTES:
            raise ValueError(f"its header has {length} bytes")
        header = json.loads(os.pread(number, length, 8))
        count = header["keys"]["shape"][0]
        shapes = {"keys": (32,), "sizes": (2,), "sums": (), "pixels": self._shape}
        places: dict[str, tuple[int, int]] = {}
        for name, shape in shapes.items():
            start, end = header[name]["data_offsets"]
            found = header[name]["dtype"], header[name]["shape"]
            item = _TABLES[name].itemsize if name in _TABLES else 1
            if found != (_NAMES[name], [count, *shape]) or start < 0:
                raise ValueError(f"it has {found[1]} {name} where {[count, *shape]} are expected")
            if end - start != count * math.prod(shape) * item:
                raise ValueError(f"its {name} have {end - start} bytes")
            places[name] = 8 + length + start, end - start
        if os.fstat(number).st_size < max(sum(place) for place in places.values()):
            raise ValueError("it was cut off")
        return count, places, str(header["__metadata__"]["sha256"])


class _Handle:
    """An open file, closed with the last reference to it; nobody evicts it until then."""

    def __init__(self, number: int) -> None:
        self.number = number
        _lock(number, alone=False)

    def __del__(self) -> None:
        os.close(self.number)

    def read(self, place: int, length: int) -> bytes:
        buffer = bytearray(length)
        self.read_into(place, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, place: int, out: memoryview) -> None:
        while out:
            count = os.preadv(self.number, [out], place)
            if not count:
                raise ValueError("it was cut off")
            out, place = out[count:], place + count


class OpenFiles:
    """The open files of shards, the least recently used closed first; for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handles: OrderedDict[Path, _Handle] = OrderedDict()

    def get(self, path: Path) -> _Handle | None:
        """Return the open file, None where it is not open."""
        with self._lock:
            if handle := self._handles.get(path):
                self._handles.move_to_end(path)
            return handle

    def drop(self, path: Path) -> None:
        """Close a file, where it is open."""
        with self._lock:
            self._handles.pop(path, None)

    def put(self, path: Path, handle: _Handle) -> None:
        """Keep an open file."""
        with self._lock:
            self._handles[path] = handle
            while len(self._handles) > _MOST_OPEN:
                self._handles.popitem(last=False)


def claim_shard(path: Path) -> AbstractContextManager[None] | None:
    """Return the sole right to write a shard, held while a block runs; None: a process has it.

    The kernel drops it with the process.

    Raises:
        DataError: something other than a file is where the lock file belongs.
        OSError: the lock file cannot be made.
    """
    lock = path.with_name(f".{path.stem}.lock")
    handle = regular_handle(lock, os.O_RDWR | os.O_CREAT)
    if not _lock(handle, alone=True):
        os.close(handle)
        return None

    @contextmanager
    def held() -> Iterator[None]:
        try:
            yield
        finally:
            with suppress(OSError):
                lock.unlink()
            os.close(handle)

    return held()


def in_use(path: Path) -> bool:
    """Whether a process has a shard open; False where the system cannot tell."""
    try:
        with open_regular(path) as file:
            return not _lock(file.fileno(), alone=True)
    except (OSError, DataError):
        return False


def _lock(handle: int, *, alone: bool) -> bool:
    """Lock an open file, against all others or those that want it alone; False if that is late.

    Without locks, two processes do the same work at worst, or remove what the other uses.
    """
    try:
        import fcntl
    except ModuleNotFoundError:  # pragma: no cover -- Windows
        return True
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without them
        return True
    return True


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> str:
    return hashlib.sha256(b"".join(arrays[name].tobytes() for name in _TABLES)).hexdigest()
