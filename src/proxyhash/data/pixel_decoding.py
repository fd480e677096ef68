"""Decode image files for the pixel cache, in processes or here."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Protocol

import numpy as np

from proxyhash.data.decoders import Decoders
from proxyhash.data.images import open_squashed

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Decode", "SquashedImages"]


class Decode(Protocol):
    """Returns the pixels of an image file, uint8, and the image's own width and height."""

    def __call__(self, source: Path, /) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """Decode a file; called in several threads at once; raises a SourceError."""
        ...


class SquashedImages:
    """Decodes image files to squares of one size, whatever their aspect; a `Decode`.

    Args:
        side: of the squares.
        workers: processes that do it; 0 for none.
    """

    def __init__(self, side: int, *, workers: int = 0) -> None:
        self.shape = (3, side, side)
        self.recipe = "squashed bicubic 1"
        self._side, self._workers = side, workers
        self._lock = threading.Lock()
        self._decoders: Decoders | None = None

    def __call__(self, source: Path) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """Return the pixels, uint8 (3, side, side), and the image's width and height."""
        with self._lock:
            if self._decoders is None and self._workers:
                # Files are the user's own, and a slow image keeps nobody waiting.
                self._decoders = Decoders(self._workers, slow=math.inf)
            decoders = self._decoders
        image = open_squashed(source, self._side, decoders=decoders)
        return np.moveaxis(np.asarray(image), -1, 0), image.info["size"]

    def close(self) -> None:
        """End the processes; the next image starts others."""
        with self._lock:
            if self._decoders is not None:
                self._decoders.close()
            self._decoders = None

    def __del__(self) -> None:
        self.close()
