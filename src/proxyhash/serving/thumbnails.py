"""Small pictures inside a page: JPEG thumbnails as `data:` addresses."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from proxyhash.data import open_image
from proxyhash.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Thumbnails"]


class Thumbnails:
    """Makes thumbnails until a page has enough of them.

    Args:
        edge: longest side in pixels.
        budget: bytes of address text after which no more are made, so that a page with a thousand
            hits still opens.
    """

    def __init__(self, *, edge: int = 360, budget: int = 24_000_000) -> None:
        self.edge = edge
        self.left = budget

    def of(self, path: Path) -> str | None:
        """Return the picture as a `data:` address, or None where it cannot be shown.

        The picture is encoded anew, so nothing of the file but its pixels gets into the page.
        """
        if self.left <= 0:
            return None
        try:
            image = open_image(path)
        except ImageError:
            return None
        image.thumbnail((self.edge, self.edge))
        image.info.clear()  # comments and profiles, which the JPEG writer would take over
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=82, optimize=True)
        address = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
        self.left -= len(address)
        return address
