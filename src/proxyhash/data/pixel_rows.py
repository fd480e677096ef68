"""The pixels of many images, read from the pixel cache, or decoded where it does not have them."""

from __future__ import annotations

import logging
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from proxyhash.data.pixel_shard import DamagedShardError
from proxyhash.errors import SourceError
from proxyhash.threads import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from proxyhash.data.pixel_decoding import Decode
    from proxyhash.data.pixel_shard import PixelShard

__all__ = ["PixelRows", "Pixels"]

logger = logging.getLogger(__name__)


class Pixels(NamedTuple):
    """Some images: their pixels, uint8 (b, ...), and own width and height, int32 (b, 2)."""

    pixels: NDArray[np.uint8]
    sizes: NDArray[np.int32]


class PixelRows:
    """The pixels of a sequence of images; made by `PixelCache.rows`, safe to use in threads.

    Attributes:
        shape: of one image.
        stored: which images the cache had when this was made, bool (n,).
        unreadable: which images cannot be decoded, bool (n,).
    """

    def __init__(
        self,
        sources: Sequence[Path | None],
        found: Mapping[int, tuple[PixelShard, int]],
        *,
        shape: tuple[int, ...],
        decode: Decode,
        workers: int,
        unreadable: NDArray[np.bool_],
        name: Callable[[int], str],
    ) -> None:
        self.shape = shape
        self.unreadable = unreadable
        self.stored = np.zeros(len(sources), np.bool_)
        self.stored[list(found)] = True
        self._sources, self._found = sources, dict(found)
        self._decode, self._workers, self._name = decode, workers, name
        self._warned = False

    def __len__(self) -> int:
        return len(self._sources)

    def read(self, positions: NDArray[np.int64]) -> Pixels:
        """Return the images at these positions, in their order.

        Raises:
            SourceError: "row 12: PATH: no such file", of the class that decoding raises, for an
                image that is not in the cache.
        """
        pixels = np.empty((len(positions), *self.shape), np.uint8)
        sizes = np.empty((len(positions), 2), np.int32)
        missing: list[tuple[int, int]] = []
        for row, position in enumerate(positions.tolist()):
            place = self._found.get(position)
            if place is None or not self._read(place, pixels[row]):
                missing.append((row, position))
            else:
                sizes[row] = place[0].sizes[place[1]]

        def decode(place: tuple[int, int]) -> None:
            row, position = place
            pixels[row], sizes[row] = self._decoded(position)

        if self._workers > 1 and len(missing) > 1:
            with map_in_threads(decode, missing, min(self._workers, len(missing))) as decoded:
                deque(decoded, maxlen=0)
        else:
            deque(map(decode, missing), maxlen=0)
        return Pixels(pixels, sizes)

    def _read(self, place: tuple[PixelShard, int], out: NDArray[np.uint8]) -> bool:
        """Read an image from a shard; whether that could be done."""
        shard, row = place
        try:
            shard.read(row, out)
        except FileNotFoundError:  # another process has made room
            self._forget(shard)
            return False
        except DamagedShardError as error:
            level = logging.DEBUG if self._warned else logging.WARNING
            self._warned = True
            message = "the cache file %s is damaged (%s); its images are decoded from now on"
            logger.log(level, message, shard.path, error)
            self._forget(shard)
            with suppress(OSError):  # the next run writes it again
                shard.path.unlink()
            return False
        return True

    def _forget(self, shard: PixelShard) -> None:
        self._found = {key: place for key, place in self._found.items() if place[0] is not shard}

    def _decoded(self, position: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        source = self._sources[position]
        if source is None:
            raise SourceError(f"{self._name(position)} has no image")
        try:
            return self._decode(source)
        except SourceError as error:
            raise type(error)(f"{self._name(position)}: {error}") from error
