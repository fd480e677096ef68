"""Feature cache on disk, so that no image or text goes through the same model twice.

One folder per encoder fingerprint holds *shards*: files with unique names that are written once
and never changed. So no locks are needed: two processes write different shards, and a killed
process loses at most what it had not written yet. A shard that cannot be read is ignored with a
warning, and its items are encoded again: whatever others do to its files, a cache costs time at
most.

A shard is a safetensors file with `keys`, uint8 (n, 32), the SHA-256 of each item's content,
`values`, float32 (n, d), and a checksum over both.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from proxyhash.errors import DataError, UsageError
from proxyhash.files import default_cache_folder, open_regular, write_bytes

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

__all__ = ["CachedFeatures", "FeatureCache", "content_key", "default_cache_folder"]

logger = logging.getLogger(__name__)

_SUFFIX = ".safetensors"
_FLUSH_SECONDS = 30.0
_FLUSH_ROWS = 1024
_MANY_SHARDS, _MOST_SHARDS = 32, 512
_HEADER_BYTES = 100_000
_MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError)
_ABANDONED_SECONDS = 24 * 3600.0


def content_key(content: bytes | str) -> bytes:
    """Return the cache key of content, 32 bytes: the SHA-256 of a file's bytes or a text."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).digest()


class FeatureCache:
    """Feature cache in one folder; safe to use from several processes at once.

    Attributes:
        folder: None where there is no home folder; then nothing is cached.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder: Path | None = None
        try:
            self.folder = Path(folder) if folder is not None else default_cache_folder()
        except UsageError as error:
            logger.warning("%s", error)

    def open(self, fingerprint: str, *, dim: int) -> CachedFeatures:
        """Return the cached features of the encoder with this fingerprint."""
        folder = None if self.folder is None else self.folder / "features" / fingerprint
        return CachedFeatures(folder, dim=dim)


class CachedFeatures:
    """Cached features of one encoder by content; a context manager, which writes at the end.

    What `add` collects is written every 1,024 rows or 30 seconds, and at the end of the `with`
    block, also after an error or Ctrl-C. Values are read from disk shard by shard on first use.
    Safe to use from several threads.
    """

    def __init__(self, folder: Path | None, *, dim: int) -> None:
        self._folder = folder
        self._dim = dim
        self._lock = threading.RLock()
        self._found: dict[bytes, tuple[_Shard, int]] = {}
        self._new: dict[bytes, NDArray[np.float32]] = {}
        self._written = time.monotonic()
        self._warned: set[str] = set()
        paths = self._paths()[:_MOST_SHARDS]
        shards = [shard for path in paths if (shard := self._open(path)) is not None]
        if len(shards) > _MANY_SHARDS:
            shards = self._merge(shards)
        for shard in shards:
            self._file(shard)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.flush()

    def __len__(self) -> int:
        with self._lock:
            return len(self._found.keys() | self._new.keys())

    def get(self, key: bytes) -> NDArray[np.float32] | None:
        """Return the features stored under `key`, shape (dim,), or None."""
        with self._lock:
            if key in self._new:
                return self._new[key]
            place = self._found.get(key)
            if place is None:
                return None
            shard, row = place
            try:
                values = shard.values()
            except _DamagedShardError as error:
                self._warn_of_damage(shard.path, error)
                self._found = {k: v for k, v in self._found.items() if v[0] is not shard}
                return None
            found: NDArray[np.float32] = values[row]
            return found

    def add(self, key: bytes, values: NDArray[np.float32]) -> None:
        """Add the features of one item, shape (dim,), to be written with the next shard."""
        with self._lock:
            self._new[key] = values
            waited = time.monotonic() - self._written
            if len(self._new) >= _FLUSH_ROWS or waited > _FLUSH_SECONDS:
                self.flush()

    def flush(self) -> None:
        """Write the features added since the last flush as one shard."""
        with self._lock:
            self._written = time.monotonic()
            if not self._new or self._folder is None:
                self._new.clear()
                return
            keys = np.frombuffer(b"".join(self._new), dtype=np.uint8).reshape(-1, 32)
            values = np.stack(list(self._new.values())).astype(np.float32, copy=False)
            self._new.clear()
            try:
                self._file(_Shard.write(self._folder, keys, values))
            except (OSError, UsageError, _DamagedShardError) as error:  # must not end the encoding
                self._warn(
                    "writing",
                    "features cannot be cached in %s (%s); continuing without",
                    self._folder,
                    error,
                )

    def _paths(self) -> list[Path]:
        """Return the shards in a fixed order; removes leftovers of killed processes."""
        if self._folder is None:
            return []
        try:
            paths = sorted(path for path in self._folder.iterdir() if path.suffix == _SUFFIX)
        except OSError:  # there is none yet, or it is for others
            return []
        for path in paths:
            if path.name.startswith(".") and _age(path) > _ABANDONED_SECONDS:
                _remove(path)
        return [path for path in paths if not path.name.startswith(".")]

    def _open(self, path: Path) -> _Shard | None:
        try:
            return _Shard(path, dim=self._dim)
        except FileNotFoundError:  # merged by another process after it was listed
            return None
        except _DamagedShardError as error:
            self._warn_of_damage(path, error)
            return None

    def _warn_of_damage(self, path: Path, error: Exception) -> None:
        self._warn(
            "damage",
            "ignoring the damaged cache file %s (%s); its items are encoded again",
            path,
            error,
        )

    def _warn(self, kind: str, message: str, *arguments: object) -> None:
        """Log a warning, the first of its kind; the others only for those who debug."""
        level = logging.DEBUG if kind in self._warned else logging.WARNING
        self._warned.add(kind)
        logger.log(level, message, *arguments)

    def _file(self, shard: _Shard) -> None:
        for row, key in enumerate(shard.keys):
            self._found[key.tobytes()] = (shard, row)

    def _merge(self, shards: list[_Shard]) -> list[_Shard]:
        """Write many shards as one, then remove them; open readers of them are not disturbed."""
        whole: list[_Shard] = []
        for shard in shards:
            try:
                shard.values()
                whole.append(shard)
            except _DamagedShardError as error:
                self._warn_of_damage(shard.path, error)
        if len(whole) <= _MANY_SHARDS or self._folder is None:
            return whole
        keys, first = np.unique(np.concatenate([s.keys for s in whole]), axis=0, return_index=True)
        values = np.concatenate([shard.values() for shard in whole])[first]
        try:
            merged = _Shard.write(self._folder, keys, values)
        except (
            OSError,
            UsageError,
            _DamagedShardError,
        ) as error:  # they are as good as one, only slower
            logger.debug("the cache files in %s are not merged: %s", self._folder, error)
            return whole
        for shard in whole:
            _remove(shard.path)
        return [merged]


class _DamagedShardError(Exception):
    """A shard that cannot be used."""


class _Shard:
    """One file of keys and values; the keys are read at once, the values on first use.

    The file is read with ordinary calls, not mapped: if another process cut it short, touching a
    mapped page would end this one.
    """

    def __init__(self, path: Path, *, dim: int) -> None:
        self.path = path
        self._values: NDArray[np.float32] | None = None
        self._handle = -1
        try:
            with open_regular(path) as file:
                self._handle = os.dup(file.fileno())
            rows, places, self._checksum = self._layout(dim)
            self.keys = self._array("keys", places, np.uint8).reshape(rows, 32)
        except FileNotFoundError:
            raise
        except (OSError, DataError, *_MALFORMED) as error:
            raise _DamagedShardError(str(error) or type(error).__name__) from error
        self._shape, self._places = (rows, dim), places

    def __del__(self) -> None:
        self._close()

    def _close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    @classmethod
    def write(cls, folder: Path, keys: NDArray[np.uint8], values: NDArray[np.float32]) -> _Shard:
        from safetensors.numpy import save

        path = folder / f"{uuid.uuid4().hex}{_SUFFIX}"
        arrays: dict[str, NDArray[Any]] = {"keys": keys, "values": values}
        write_bytes(path, save(arrays, metadata={"sha256": _checksum(keys, values)}))
        return cls(path, dim=values.shape[1])

    def values(self) -> NDArray[np.float32]:
        if self._values is None:
            try:
                values = self._array("values", self._places, np.float32).reshape(self._shape)
            except (OSError, *_MALFORMED) as error:
                raise _DamagedShardError(str(error) or type(error).__name__) from error
            if _checksum(self.keys, values) != self._checksum:
                raise _DamagedShardError("its content does not match its checksum")
            self._values = values
            self._close()
        return self._values

    def _layout(self, dim: int) -> tuple[int, dict[str, tuple[int, int]], str]:
        """Return the number of rows, the place and length of both arrays, and the checksum."""
        length = int.from_bytes(self._read(0, 8), "little")
        if length > _HEADER_BYTES:
            raise ValueError(f"its header has {length} bytes")
        header = json.loads(self._read(8, length))
        rows = header["keys"]["shape"][0]
        wanted = {"keys": ("U8", [rows, 32], 32), "values": ("F32", [rows, dim], 4 * dim)}
        places: dict[str, tuple[int, int]] = {}
        for name, (dtype, shape, width) in wanted.items():
            start, end = header[name]["data_offsets"]
            found = header[name]["dtype"], header[name]["shape"]
            if found != (dtype, shape) or start < 0 or end - start != rows * width:
                raise ValueError(f"it holds {found[1]} {name} where {shape} are expected")
            places[name] = 8 + length + start, end - start
        if os.fstat(self._handle).st_size < max(sum(place) for place in places.values()):
            raise ValueError("it was cut off")
        return rows, places, str(header["__metadata__"]["sha256"])

    def _array(self, name: str, places: dict[str, tuple[int, int]], dtype: Any) -> NDArray[Any]:
        return np.frombuffer(self._read(*places[name]), dtype=dtype)

    def _read(self, place: int, length: int) -> bytes:
        parts: list[bytes] = []
        while length > 0 and (part := os.pread(self._handle, length, place)):
            parts.append(part)
            place, length = place + len(part), length - len(part)
        if length:
            raise ValueError("it was cut off")
        return b"".join(parts)


def _checksum(keys: NDArray[np.uint8], values: NDArray[np.float32]) -> str:
    return hashlib.sha256(keys.tobytes() + values.tobytes()).hexdigest()


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _remove(path: Path) -> None:
    with suppress(OSError):  # another process was faster, or the folder is for others
        path.unlink()
