"""Images of a data set: those that lie in arrays, and the files that lists of names mean."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from proxyhash.datasets.arrays.variable import Variable

__all__ = ["MAX_VALUES", "ImageArray", "find_images"]

MAX_VALUES = 10**8
"""Height times width times 3 of one image."""

_LAYOUTS = ("HW3N", "N3HW", "NHW3", "3HWN")  # as MATLAB shows the axes; N counts the images
_BLOCK_BYTES = 128 << 20
_TRIED = 5


@dataclass(frozen=True)
class ImageArray:
    """RGB images in one variable, read some at a time.

    Attributes:
        variable: four axes: height, width, color and the image's number, in the layout's order.
        layout: one of the orders that are known.
        kept: which of the images belong to the data set, bool (n).
    """

    variable: Variable
    layout: str
    kept: NDArray[np.bool_]

    @classmethod
    def of(cls, variable: Variable, *, items: int) -> ImageArray:
        """Return the images of `items` items.

        Raises:
            DataError: the shape allows no layout, or several; or the images are too large.
        """
        expected = "height x width x 3 x items, or items x 3 x height x width"
        found = [
            layout
            for layout in _LAYOUTS
            if variable.shape[layout.index("N")] == items and variable.shape[layout.index("3")] == 3
        ]
        if len(found) != 1:
            how = "may be read in several ways" if found else "holds no such images"
            raise DataError(
                f"{variable.path}: {variable} {how}; expected for {items:,} items is {expected}"
            )
        if int(np.prod(variable.shape, dtype=object)) // max(items, 1) > MAX_VALUES:
            raise DataError(f"{variable.path}: {variable} has images of more than 10^8 values")
        return cls(variable, found[0], np.ones(items, dtype=np.bool_))

    def keep(self, kept: NDArray[np.bool_]) -> ImageArray:
        """Return the images that `kept`, bool (n), is true for."""
        return ImageArray(self.variable, self.layout, kept)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Yield each as uint8 (height, width, 3); 128 MiB are in memory at a time.

        Raises:
            DataError: values are not those of images, whole numbers from 0 to 255.
        """
        axis = self.layout.index("N")
        order = [self.layout.index(letter) for letter in "NHW3"]
        items = self.variable.shape[axis]
        each = int(np.prod(self.variable.shape, dtype=object)) // max(items, 1)
        step = max(1, _BLOCK_BYTES // max(each, 1))
        for start in range(0, items, step):
            stop = min(start + step, items)
            kept = self.kept[start:stop]
            if not kept.any():
                continue
            block = self.variable.block(start, stop, axis=axis).transpose(order)
            for values in block[kept]:
                yield np.ascontiguousarray(self._colors(values))

    def _colors(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
        if values.dtype == np.uint8:
            return values.astype(np.uint8, copy=False)
        colors = values.astype(np.float64).clip(0, 255).astype(np.uint8)
        if not np.array_equal(colors, values):
            raise DataError(
                f"{self.variable.path}: {self.variable} holds values that no image has; whole "
                "numbers from 0 to 255 are expected: was a mean subtracted, or was it scaled?"
            )
        return colors


def find_images(names: Sequence[str], folders: Sequence[Path]) -> list[Path] | None:
    """Return the file that each name means, None where there are none of them.

    Lists often begin with a folder of the machine they were made on. So much is left out in front
    as it takes for one of the first images to be there, and the same for all of them; the first
    of `folders` where that works holds them.
    """
    parts = [PurePosixPath(name.replace("\\", "/")).parts for name in names]
    for folder in folders:
        for first in islice(parts, _TRIED):
            for dropped in range(len(first)):
                if first[dropped] != "/" and folder.joinpath(*first[dropped:]).is_file():
                    return [folder.joinpath(*_dropped(each, dropped)) for each in parts]
    return None


def _dropped(parts: tuple[str, ...], count: int) -> tuple[str, ...]:
    return parts[min(count, len(parts) - 1) :]
