"""Feature cache on disk, so that no image or text goes through the same model twice.

One folder per encoder fingerprint holds *shards*: files with unique names that are written once
and never changed. So no locks are needed: two processes write different shards, and a killed
process loses at most what it had not written yet. A shard that cannot be read is ignored with a
warning, and its items are encoded again.

A shard is a safetensors file with `keys`, uint8 (n, 32), the SHA-256 of each item's content,
`values`, float32 (n, d), and a checksum over both.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from proxyhash.files import write_bytes

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

__all__ = ["CachedFeatures", "FeatureCache", "content_key", "default_cache_folder"]

logger = logging.getLogger(__name__)

_SUFFIX = ".safetensors"
_FLUSH_SECONDS = 30.0
_FLUSH_ROWS = 1024
_MANY_SHARDS = 32
_ABANDONED_SECONDS = 24 * 3600.0


def default_cache_folder() -> Path:
    """Return `$PROXYHASH_CACHE`, or `~/.cache/proxyhash`."""
    return Path(os.environ.get("PROXYHASH_CACHE") or Path.home() / ".cache" / "proxyhash")


def content_key(content: bytes | str) -> bytes:
    """Return the cache key of content, 32 bytes: the SHA-256 of a file's bytes or a text."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).digest()


class FeatureCache:
    """Feature cache in one folder; safe to use from several processes at once."""

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = Path(folder) if folder is not None else default_cache_folder()

    def open(self, fingerprint: str, *, dim: int) -> CachedFeatures:
        """Return the cached features of the encoder with this fingerprint."""
        return CachedFeatures(self.folder / "features" / fingerprint, dim=dim)


class CachedFeatures:
    """Cached features of one encoder by content; a context manager, which writes at the end.

    What `add` collects is written every 1,024 rows or 30 seconds, and at the end of the `with`
    block, also after an error or Ctrl-C. Values are read from disk shard by shard on first use.
    Safe to use from several threads.
    """

    def __init__(self, folder: Path, *, dim: int) -> None:
        self._folder = folder
        self._dim = dim
        self._lock = threading.RLock()
        self._found: dict[bytes, tuple[_Shard, int]] = {}
        self._new: dict[bytes, NDArray[np.float32]] = {}
        self._written = time.monotonic()
        shards = [shard for path in self._paths() if (shard := self._open(path)) is not None]
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
                _warn(shard.path, error)
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
            if not self._new:
                return
            keys = np.frombuffer(b"".join(self._new), dtype=np.uint8).reshape(-1, 32)
            values = np.stack(list(self._new.values())).astype(np.float32, copy=False)
            self._new.clear()
            try:
                self._file(_Shard.write(self._folder, keys, values))
            except OSError as error:  # a full disk must not end the encoding
                logger.warning(
                    "features cannot be cached in %s (%s); continuing without", self._folder, error
                )

    def _paths(self) -> list[Path]:
        """Return the shards in a fixed order; removes leftovers of killed processes."""
        paths = sorted(self._folder.glob(f"*{_SUFFIX}"))  # empty if the folder does not exist
        for path in paths:
            if path.name.startswith(".") and _age(path) > _ABANDONED_SECONDS:
                path.unlink(missing_ok=True)
        return [path for path in paths if not path.name.startswith(".")]

    def _open(self, path: Path) -> _Shard | None:
        try:
            return _Shard(path, dim=self._dim)
        except FileNotFoundError:  # merged by another process after it was listed
            return None
        except _DamagedShardError as error:
            _warn(path, error)
            return None

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
                _warn(shard.path, error)
        keys, first = np.unique(np.concatenate([s.keys for s in whole]), axis=0, return_index=True)
        values = np.concatenate([shard.values() for shard in whole])[first]
        merged = _Shard.write(self._folder, keys, values)
        for shard in whole:
            shard.path.unlink(missing_ok=True)
        return [merged]


class _DamagedShardError(Exception):
    """A shard that cannot be used."""


class _Shard:
    """One file of keys and values; the keys are read at once, the values on first use."""

    def __init__(self, path: Path, *, dim: int) -> None:
        from safetensors import SafetensorError, safe_open

        self.path = path
        self._values: NDArray[np.float32] | None = None
        try:
            opened: Any = safe_open
            self._file = opened(path, framework="numpy")
            shape = self._file.get_slice("values").get_shape()
            self.keys: NDArray[np.uint8] = self._file.get_tensor("keys")
            self._checksum = (self._file.metadata() or {}).get("sha256")
        except FileNotFoundError:
            raise
        except (OSError, SafetensorError, ValueError) as error:
            raise _DamagedShardError(str(error)) from error
        if self.keys.dtype != np.uint8 or shape != [len(self.keys), dim]:
            raise _DamagedShardError(f"it holds {shape} values where (n, {dim}) are expected")

    @classmethod
    def write(cls, folder: Path, keys: NDArray[np.uint8], values: NDArray[np.float32]) -> _Shard:
        from safetensors.numpy import save

        path = folder / f"{uuid.uuid4().hex}{_SUFFIX}"
        arrays: dict[str, NDArray[Any]] = {"keys": keys, "values": values}
        write_bytes(path, save(arrays, metadata={"sha256": _checksum(keys, values)}))
        return cls(path, dim=values.shape[1])

    def values(self) -> NDArray[np.float32]:
        from safetensors import SafetensorError

        if self._values is None:
            try:
                values: NDArray[np.float32] = self._file.get_tensor("values")
            except (OSError, SafetensorError, ValueError) as error:
                raise _DamagedShardError(str(error)) from error
            if values.dtype != np.float32 or _checksum(self.keys, values) != self._checksum:
                raise _DamagedShardError("its content does not match its checksum")
            self._values = values
            self._file = None
        return self._values


def _checksum(keys: NDArray[np.uint8], values: NDArray[np.float32]) -> str:
    return hashlib.sha256(keys.tobytes() + values.tobytes()).hexdigest()


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _warn(path: Path, error: Exception) -> None:
    logger.warning(
        "ignoring the damaged cache file %s (%s); its items are encoded again", path, error
    )
