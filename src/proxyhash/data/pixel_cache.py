"""Pixel cache on disk: every image is decoded and resized once, and read back as it is needed.

One folder per recipe holds shards (`pixel_shard`), written under a temporary name and renamed. What
a killed process had not written is decoded again. Several processes that want the same images share
the work: each claims a shard by a lock that the kernel drops with the process. Whatever happens to
the files, the cache costs time at most.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from proxyhash.data.pixel_job import PixelJob
from proxyhash.data.pixel_shard import ABANDONED_SECONDS, SUFFIX, in_use
from proxyhash.errors import UsageError, check_option
from proxyhash.files import default_cache_folder
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from proxyhash.data.pixel_decoding import Decode
    from proxyhash.data.pixel_rows import PixelRows

__all__ = ["PIXEL_CACHE_BYTES", "PixelCache"]

logger = logging.getLogger(__name__)

PIXEL_CACHE_BYTES = 20 << 30
"""Size of the pixel cache on disk at most, by default."""


_FORMAT = 1  # of shards; those of others are neither read nor removed, but for want of room


class PixelCache:
    """Pixel cache in one folder; safe to use from several processes at once.

    Args:
        folder: of the user's caches; default `$PROXYHASH_CACHE`, or `~/.cache/proxyhash`. The
            pixels lie in its folder `pixels`.
        max_bytes: size on disk at most; 0 for no cache. Before more is written, what was not
            used for longest is removed; what a process uses is not.

    Attributes:
        folder: None where there is no home folder; then nothing is cached.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        max_bytes: int = PIXEL_CACHE_BYTES,
    ) -> None:
        self.folder: Path | None = None
        self.max_bytes = max_bytes
        try:
            self.folder = Path(folder or default_cache_folder()) / "pixels"
        except UsageError as error:
            logger.warning("%s", error)

    def rows(
        self,
        sources: Sequence[Path | None],
        *,
        recipe: str,
        shape: tuple[int, ...],
        decode: Decode,
        workers: int = 1,
        track: Track = silent,
        on_bad_item: str = "fail",
        name: Callable[[int], str] = lambda position: f"row {position + 1}",
    ) -> PixelRows:
        """Return the pixels of every image, after those missing from the cache were decoded.

        Images that do not fit the bound are decoded whenever they are read.

        Args:
            sources: paths of image files; None where an item has none.
            recipe: what `decode` does, in a few words; images of another recipe are others.
            shape: of an image as decoded.
            decode: returns a file's pixels, uint8 of this shape, and the image's width and height;
                called in several threads at once.
            workers: images decoded at once; 0 and 1 are the same here.
            track: told of every image.
            on_bad_item: "fail" at the first file that cannot be read, or "skip": go on without it,
                log a warning, and mark the row as `unreadable`.
            name: what errors call the row at a position.

        Raises:
            SourceError: "NAME: PATH: no such file"; of the class that `decode` raises.
        """
        check_option("on_bad_item", on_bad_item, ("fail", "skip"))
        job = PixelJob(
            sources,
            self._folder(recipe, shape),
            shape=shape,
            decode=decode,
            workers=max(1, workers),
            track=track,
            name=name,
            skip=on_bad_item == "skip",
            make_room=self.make_room,
        )
        return job.run()

    def make_room(self, size: int, kept: Collection[Path] = ()) -> bool:
        """Remove shards until there is room for another of so many bytes; whether there is.

        Args:
            size: of the other.
            kept: shards that stay, beside those that a process uses.
        """
        if self.folder is None or size > self.max_bytes:
            return False
        shards = [each for folder in _folders(self.folder) for each in _shards(folder)]
        total = size + sum(status.st_size for _, status in shards)
        for path, status in sorted(shards, key=lambda shard: shard[1].st_mtime):
            if total <= self.max_bytes:
                break
            written = (
                path.name.startswith(".") and time.time() - status.st_mtime < ABANDONED_SECONDS
            )
            if path not in kept and not written and not in_use(path):
                with suppress(OSError):  # another process was faster, or it is for others
                    path.unlink()
                    total -= status.st_size
        return total <= self.max_bytes

    def _folder(self, recipe: str, shape: tuple[int, ...]) -> Path | None:
        text = f"{_FORMAT} {recipe} {'x'.join(map(str, shape))}"
        name = hashlib.sha256(text.encode()).hexdigest()
        return self.folder / name if self.folder and self.max_bytes else None


def _folders(folder: Path) -> list[Path]:
    """Return the folders in a folder; no link is followed, as what is in them may be removed."""
    try:
        with os.scandir(folder) as entries:
            return [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:  # there is none yet
        return []


def _shards(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """Return the shards in a folder, also those that a process is writing."""
    found = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False):
                with suppress(OSError):  # removed since
                    found.append((Path(entry), entry.stat(follow_symlinks=False)))
    return found
