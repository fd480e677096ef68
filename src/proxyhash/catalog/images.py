"""Memory of the images that went into an index, whose service takes as much: `images.json`.

    {"format": 1, "max_pixels": null, "largest_file": 14823007}

`max_pixels` is null for the limits that `proxyhash.data.images` has by default. The file is missing
in indexes of earlier versions and in those without images, and may be deleted.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxyhash.data.images import ImageLimits
from proxyhash.errors import DataError
from proxyhash.files import read_json, write_json

if TYPE_CHECKING:
    from proxyhash.data import Collection

__all__ = ["ImagesTaken", "copy_images_taken", "images_taken", "remember_images"]

_NAME = "images.json"
_FORMAT = 1
_MOST_PIXELS = 2_000_000_000  # that an index, which may come from a stranger, can ask for


@dataclass(frozen=True)
class ImagesTaken:
    """The most that an index took.

    Attributes:
        max_pixels: of one image, where the limit was given; None for the default limits.
        largest_file: bytes of the largest image file.
    """

    max_pixels: int | None = None
    largest_file: int = 0

    @property
    def limits(self) -> ImageLimits:
        """Limits that allow as much."""
        return ImageLimits() if self.max_pixels is None else ImageLimits.of_pixels(self.max_pixels)


def images_taken(index: str | Path) -> ImagesTaken:
    """Return what an index folder remembers; the defaults for any other index."""
    with suppress(DataError, ValueError):
        path = Path(index) / _NAME
        value = read_json(path) if path.is_file() else {}
        if isinstance(value, dict) and value.get("format") == _FORMAT:
            pixels, largest = value.get("max_pixels"), value.get("largest_file")
            return ImagesTaken(
                pixels if type(pixels) is int and 0 < pixels <= _MOST_PIXELS else None,
                largest if type(largest) is int and largest > 0 else 0,
            )
    return ImagesTaken()


def remember_images(
    folder: Path, collection: Collection, max_megapixels: float | None
) -> ImageLimits:
    """Return the limits for a collection that goes into an index folder, and remember them there.

    Args:
        folder: of the index.
        collection: what is added.
        max_megapixels: as given; None for what the index has, or the default.
    """
    before = images_taken(folder)
    pixels = before.max_pixels
    if max_megapixels is not None:
        pixels = max(before.max_pixels or 0, int(max_megapixels * 1_000_000))
    now = ImagesTaken(pixels, max(before.largest_file, _largest(collection)))
    if now != before:
        _write(folder, now)
    return now.limits if max_megapixels is None else ImageLimits.of_megapixels(max_megapixels)


def copy_images_taken(source: Path, target: Path) -> None:
    """Let a copy of an index remember what its source does."""
    if (taken := images_taken(source)) != ImagesTaken():
        _write(target, taken)


def _write(folder: Path, taken: ImagesTaken) -> None:
    write_json(folder / _NAME, {"format": _FORMAT, **asdict(taken)})


def _largest(collection: Collection) -> int:
    most, largest = ImageLimits().max_file_bytes, 0
    for path in collection.sources("image"):
        if isinstance(path, Path):
            with suppress(OSError, ValueError):
                size = path.stat().st_size
                largest = size if largest < size <= most else largest
    return largest
