"""Find the images of one collection in the pixel cache, and decode those that it does not have."""

from __future__ import annotations

import logging
import math
import os
import time
from collections import deque
from contextlib import closing, nullcontext, suppress
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.data.contained import content_hash, has_content, stamp_of
from proxyhash.data.pixel_rows import PixelRows
from proxyhash.data.pixel_shard import (
    ABANDONED_SECONDS,
    SUFFIX,
    DamagedShardError,
    OpenFiles,
    PixelShard,
    claim_shard,
    shard_bytes,
    shard_name,
    write_shard,
)
from proxyhash.errors import DataError, SourceError, UsageError
from proxyhash.files import make_folders
from proxyhash.threads import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from proxyhash.data.pixel_decoding import Decode
    from proxyhash.progress import Track

__all__ = ["PixelJob"]

logger = logging.getLogger(__name__)

_SHARD_BYTES = 64 << 20
_NAMED = 5  # bad files listed in the warning; the rest are counted
_READERS = min(32, (os.cpu_count() or 1) + 4)  # threads that hash files
_LOOK = 0.1  # seconds between two looks whether another process is done
_PATIENCE = 120.0  # seconds that a shard of another process is waited for


class PixelJob:
    """One call of `PixelCache.rows`, whose arguments it has; `run` does it.

    Args:
        folder: the shards of the recipe; None caches nothing.
        skip: whether to go on without what cannot be read.
        make_room: makes room for so many bytes without removing these shards; whether there is.
    """

    def __init__(
        self,
        sources: Sequence[Path | None],
        folder: Path | None,
        *,
        shape: tuple[int, ...],
        decode: Decode,
        workers: int,
        track: Track,
        name: Callable[[int], str],
        skip: bool,
        make_room: Callable[[int, set[Path]], bool],
    ) -> None:
        self._sources, self._folder, self._shape = sources, folder, shape
        self._decode, self._workers, self._track = decode, workers, track
        self._name, self._skip, self._make_room = name, skip, make_room
        self._files = OpenFiles()
        self._keys: list[bytes | None] = [None] * len(sources)
        self._stamps: list[tuple[int, int] | None] = [None] * len(sources)
        self._found: dict[bytes, tuple[PixelShard, int]] = {}
        self._wanted: set[bytes] = set()
        self._bad: dict[int, SourceError] = {}
        self._damage_reported = False
        self._obstacle = ""

    def run(self) -> PixelRows:
        """Return the rows, once everything that fits is in the cache."""
        self._read_keys()
        self._wanted = {key for key in self._keys if key is not None}
        if self._folder is not None:
            self._find_shards(self._folder)
            self._decode_missing(self._folder)
        self._find_copies_of_bad()
        self._report_bad()
        unreadable = np.zeros(len(self._sources), np.bool_)
        unreadable[list(self._bad)] = True
        return PixelRows(
            self._sources,
            {
                position: self._found[key]
                for position, key in enumerate(self._keys)
                if key is not None and key in self._found
            },
            shape=self._shape,
            decode=self._decode,
            workers=self._workers,
            unreadable=unreadable,
            name=self._name,
        )

    def _read_keys(self) -> None:
        """Hash every file, in several threads."""
        wanted = [place for place, source in enumerate(self._sources) if source is not None]
        with map_in_threads(self._key, wanted, _READERS) as keys:
            steps = self._track(keys, "checking images", len(wanted))
            for position, key in zip(wanted, steps, strict=True):
                if isinstance(key, SourceError):
                    self._fail(position, key)
                else:
                    self._keys[position] = key

    def _key(self, position: int) -> bytes | SourceError:
        source = self._sources[position]
        assert source is not None
        try:
            if has_content(source):
                self._stamps[position] = stamp_of(source)
                return bytes.fromhex(content_hash(source))
            self._decode(source)  # raises the right error
        except SourceError as error:
            return error
        except OSError as error:
            return SourceError(f"{source}: cannot be read ({error.strerror or error})")
        return SourceError(f"{source}: cannot be read (it was empty)")

    def _fail(self, position: int, error: SourceError) -> None:
        """Remember a bad file, or raise its error."""
        named = type(error)(f"{self._name(position)}: {error}")
        if not self._skip:
            hint = "--on-bad-item skip goes on without what cannot be read"
            raise type(error)(f"{named}; {hint}") from error
        self._bad[position] = named

    def _find_copies_of_bad(self) -> None:
        """Find the other files of the same content, which was decoded once."""
        bad = {key for position in self._bad if (key := self._keys[position]) is not None}
        for position, key in enumerate(self._keys):
            if key in bad and position not in self._bad:
                self._try(position)

    def _try(self, position: int) -> None:
        """Decode an image for its error alone."""
        source = self._sources[position]
        assert source is not None
        try:
            self._decode(source)
        except SourceError as error:
            self._fail(position, error)

    def _report_bad(self) -> None:
        if self._bad:
            errors = [str(self._bad[position]) for position in sorted(self._bad)]
            logger.warning(
                "%s cannot be read; these items are taken without:\n%s",
                f"{len(errors):,} {'image' if len(errors) == 1 else 'images'}",
                "\n".join(errors[:_NAMED]) + ("\n..." if len(errors) > _NAMED else ""),
            )

    def _find_shards(self, folder: Path) -> None:
        """Open the shards of the recipe that have any of the images."""
        try:
            paths = sorted(folder.iterdir())
        except OSError:  # there is none yet, or it is for others
            return
        for path in paths:
            if path.name.startswith("."):
                _remove_abandoned(path)
            elif path.suffix == SUFFIX:
                self._adopt(path)

    def _adopt(self, path: Path) -> bool:
        """Take what is wanted from a shard; whether it can be read."""
        try:
            shard = PixelShard(path, shape=self._shape, files=self._files)
        except FileNotFoundError:  # not there yet, or no longer
            return False
        except DamagedShardError as error:
            level = logging.DEBUG if self._damage_reported else logging.WARNING
            self._damage_reported = True
            message = "ignoring the damaged cache file %s (%s); its images are decoded again"
            logger.log(level, message, path, error)
            with suppress(OSError):  # the folder is for others
                path.unlink()
            return False
        rows = [(key, row) for row, key in enumerate(shard.keys) if key in self._wanted]
        for key, row in rows:
            self._found.setdefault(key, (shard, row))
        if not rows:
            self._files.drop(path)
            return True
        with suppress(OSError):  # it is for others
            os.utime(path)
        return True

    def _decode_missing(self, folder: Path) -> None:
        """Decode what no shard has and write it, as far as there is room."""
        missing: dict[bytes, int] = {}
        for position, key in enumerate(self._keys):
            if key is not None and key not in self._found:
                missing.setdefault(key, position)
        if not missing:
            return
        size = max(1, _SHARD_BYTES // math.prod(self._shape))
        positions = list(missing.values())
        blocks = [positions[start : start + size] for start in range(0, len(positions), size)]
        with closing(self._fill(folder, blocks)) as steps:
            for _ in self._track(steps, "decoding images", len(positions)):
                pass
        left = sum(key is not None and key not in self._found for key in self._keys)
        if left and self._obstacle:
            logger.warning(
                "%s of %s images are decoded whenever they are used: the pixel cache in %s %s",
                f"{left:,}",
                f"{len(self._keys):,}",
                folder.parent,
                self._obstacle,
            )

    def _fill(self, folder: Path, blocks: list[list[int]]) -> Generator[int, None, None]:
        """Decode and write the blocks, last those that others have claimed; yields positions."""
        ours, others = deque(blocks), deque[list[int]]()
        until = time.monotonic() + _PATIENCE
        while ours or others:
            block = (ours or others).popleft()
            path = folder / shard_name([self._key_of(position) for position in block])
            try:
                make_folders(folder)
                claim = claim_shard(path)
            except (OSError, DataError, UsageError) as error:
                self._obstacle = f"cannot be written ({error})"
                return
            if claim is None and (ours or time.monotonic() < until):
                others.append(block)
                if not ours:
                    time.sleep(_LOOK)
                continue
            with claim or nullcontext():
                if not self._adopt(path):
                    yield from self._make(path, block)
                    if self._obstacle:
                        return
                else:
                    yield from self._decode_rest(block)
            until = time.monotonic() + _PATIENCE

    def _make(self, path: Path, block: list[int]) -> Iterator[int]:
        """Decode the images of a block and write them as a shard."""
        kept = {shard.path for shard, _ in self._found.values()}
        if not self._make_room(shard_bytes(len(block), self._shape), kept):
            self._obstacle = "is full; --pixel-cache-gb sets its size"
            return
        pixels = np.empty((len(block), *self._shape), np.uint8)
        sizes = np.zeros((len(block), 2), np.int32)

        def decode(place: tuple[int, int]) -> SourceError | bool:
            row, position = place
            source = self._sources[position]
            assert source is not None
            try:
                pixels[row], sizes[row] = self._decode(source)
                return stamp_of(source) == self._stamps[position]
            except SourceError as error:
                return error
            except OSError:  # it is gone since
                return False

        rows: list[int] = []
        with map_in_threads(decode, enumerate(block), self._workers) as results:
            for row, result in enumerate(results):
                if isinstance(result, SourceError):
                    self._fail(block[row], result)
                elif result:  # otherwise it has changed since it was hashed
                    rows.append(row)
                yield block[row]
        if not rows:
            return
        keys = [self._key_of(block[row]) for row in rows]
        if len(rows) < len(block):
            pixels, sizes = pixels[rows], sizes[rows]
        try:
            write_shard(path, keys, sizes, pixels)
        except (OSError, UsageError) as error:  # must not end the training
            self._obstacle = f"cannot be written ({getattr(error, 'strerror', None) or error})"
            return
        self._adopt(path)

    def _decode_rest(self, block: list[int]) -> Iterator[int]:
        """Find out why another process has left images out of a shard."""
        for position in block:
            if self._key_of(position) not in self._found:
                self._try(position)
            yield position

    def _key_of(self, position: int) -> bytes:
        key = self._keys[position]
        assert key is not None
        return key


def _remove_abandoned(path: Path) -> None:
    """Remove what a killed process has left."""
    with suppress(OSError):  # another process was faster, or the folder is for others
        if time.time() - path.lstat().st_mtime > ABANDONED_SECONDS:
            path.unlink()
