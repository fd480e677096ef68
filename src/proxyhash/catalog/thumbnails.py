"""Small images: JPEG thumbnails, and `data:` addresses that put them inside a page."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Protocol

from proxyhash.data import open_image
from proxyhash.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["StoredThumbnails", "Thumbnails", "jpeg_thumbnail"]


class StoredThumbnails(Protocol):
    """Images of items: a `ThumbnailStore`, or a dictionary."""

    def get(self, id: str, /) -> bytes | None:  # noqa: A002
        """Return the JPEG of an item, or None."""
        ...


def jpeg_thumbnail(path: Path, *, edge: int, quality: int = 82) -> bytes | None:
    """Return an image as a small JPEG, or None where it cannot be shown.

    The image is encoded anew, so nothing of the file but its pixels is in the result.

    Args:
        path: the image file.
        edge: longest side in pixels; smaller images keep their size.
        quality: of the JPEG, up to 95.
    """
    try:
        image = open_image(path)
    except ImageError:
        return None
    image.thumbnail((edge, edge))
    image.info.clear()  # comments and profiles, which the JPEG writer would take over
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


class Thumbnails:
    """Makes thumbnails until a page has enough of them.

    Args:
        edge: longest side in pixels.
        budget: bytes of address text after which no more are made, so that a page with a thousand
            hits still opens.
        stored: where the images of items come from, if not from the paths that the items name.
    """

    def __init__(
        self, *, edge: int = 360, budget: int = 24_000_000, stored: StoredThumbnails | None = None
    ) -> None:
        self.edge = edge
        self.left = budget
        self.stored = stored

    def of(self, path: Path) -> str | None:
        """Return an image file as a `data:` address, or None where it cannot be shown."""
        return self._address(jpeg_thumbnail(path, edge=self.edge)) if self.left > 0 else None

    def of_item(self, id: str, path: Path) -> str | None:  # noqa: A002
        """Return the image of an item as a `data:` address, or None where there is none."""
        return self._address(self.stored.get(id)) if self.stored is not None else self.of(path)

    def _address(self, jpeg: bytes | None) -> str | None:
        if jpeg is None or self.left <= 0:
            return None
        address = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
        self.left -= len(address)
        return address
