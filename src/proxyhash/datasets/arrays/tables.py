"""Variables of one part, read within bounds: feature tables, numbers, labels and images."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.datasets.arrays.variable import MAX_BYTES, Variable, listed
from proxyhash.datasets.files import text_lines
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "MAX_VALUES",
    "NAMES_FILE",
    "ImageArray",
    "item_axis",
    "label_names",
    "labels_of",
    "read_numbers",
    "read_table",
]

_BLOCK_VALUES = 1 << 24

MAX_VALUES = 10**8
"""Height times width times 3 of one image."""

_LAYOUTS = ("HW3N", "N3HW", "NHW3", "3HWN")  # as MATLAB shows the axes; N counts the images
_BLOCK_BYTES = 128 << 20


def item_axis(
    labels: Variable, tables: Sequence[Variable], others: Sequence[int]
) -> tuple[int, int]:
    """Return how many items a part has, and which axis of its tables counts them.

    That axis is the first, save in HDF5 files without MATLAB's marks, which may have it last.

    Args:
        labels: a matrix, or a row or column of class numbers.
        tables: matrices of features.
        others: how many items strings of the part belong to.

    Raises:
        DataError: they do not agree; lists names and shapes.
    """
    for axis in (0, 1) if all(each.loose for each in (labels, *tables)) else (0,):
        counts = {table.shape[axis] for table in tables}.union(others)
        own = {labels.shape[axis]} if len(labels.shape) == 2 else set()
        if len(labels.shape) == 1 or min(labels.shape) == 1:
            own.add(max(labels.shape))
        if not counts:
            return max(own), axis
        if len(counts) == 1 and counts <= own:
            return counts.pop(), axis
    raise DataError(
        f"{labels.path.parent}: one row per item is expected; found: "
        f"{listed([labels, *tables])}{''.join(f', {count:,} strings' for count in others)}; "
        "are they of one version of the data set?"
    )


def read_table(variable: Variable, *, axis: int, items: int) -> NDArray[np.float32]:
    """Return the matrix, float32 (items, d); a vector has d = 1.

    Raises:
        DataError: it is too large for the memory, or holds NaN or infinity.
    """
    shape = variable.shape
    if len(shape) == 1 or shape[axis] != items:
        axis = shape.index(items)
    columns = int(np.prod(shape, dtype=object)) // max(items, 1)
    if items * columns * 4 > MAX_BYTES:
        raise DataError(
            f"{variable.path}: {variable} takes more than {MAX_BYTES >> 30} GiB as numbers of 32 "
            "bits; reduce its columns, or give images as files"
        )
    table = np.empty((items, columns), dtype=np.float32)
    step = max(1, _BLOCK_VALUES // max(columns, 1))
    for start in range(0, items, step):
        stop = min(start + step, items)
        block = np.moveaxis(variable.block(start, stop, axis=axis), axis, 0)
        with np.errstate(over="ignore"):  # becomes infinite, which is refused below
            table[start:stop] = block.reshape(stop - start, columns)
        bad = ~np.isfinite(table[start:stop]).all(axis=1)
        if bad.any():
            raise DataError(
                f"{variable.path}: {variable.name}, item {start + int(bad.argmax()) + 1}: there is "
                "NaN or infinity; leave such items out, or put numbers there"
            )
    return table


def read_numbers(variable: Variable) -> NDArray[np.int64]:
    """Return the whole numbers of a vector.

    Raises:
        DataError: there are other values.
    """
    values = variable.block(0, variable.shape[0], axis=0).ravel()
    with np.errstate(invalid="ignore"):  # NaN, which differs from itself
        numbers = values.astype(np.int64)
    if not np.array_equal(numbers, values):
        raise DataError(f"{variable.path}: {variable} has values other than whole numbers")
    return np.asarray(numbers)


NAMES_FILE = "label_names.txt"
"""File beside the data set's, with one class name per line, in the columns' order."""


def labels_of(where: str, values: NDArray[np.float32]) -> list[tuple[int, ...]]:
    """Return the classes of each item, by number.

    Args:
        where: file and variable, for messages.
        values: (n, C), 1 where an item has a label, 0 or -1 where it has not; or (n, 1), the
            number of its one class.

    Raises:
        DataError: the values are not labels.
    """
    if values.shape[1] == 1:
        if (values < 0).any() or (values % 1).any():
            raise DataError(f"{where}: class numbers are whole numbers, not such as {values.min()}")
        return [(int(value),) for value in values[:, 0]]
    strange = values[~np.isin(values, (-1, 0, 1))]
    if strange.size:
        raise DataError(
            f"{where} holds {strange[0]:g}; 1 for a label and 0 or -1 for none are expected"
        )
    rows, columns = np.nonzero(values > 0)
    ends = np.searchsorted(rows, np.arange(len(values) + 1)).tolist()
    numbers = columns.tolist()
    return [tuple(numbers[start:end]) for start, end in pairwise(ends)]


def label_names(
    folder: Path, labels: Sequence[tuple[int, ...]], *, columns: int
) -> list[list[str]]:
    """Return each item's labels by name: from `label_names.txt`, else `label 0`, `label 1`...

    Args:
        folder: where the file may lie.
        labels: numbers, as from `labels_of`.
        columns: C of the matrix, 1 for class numbers, which may count from 0 or 1.

    Raises:
        DataError: the file names another number of classes.
    """
    numbers = {number for each in labels for number in each}
    base = min(numbers, default=0) if columns == 1 else 0
    base = min(base, 1)
    classes = max(numbers, default=0) + 1 - base if columns == 1 else columns
    file = folder / NAMES_FILE
    if not file.is_file():
        return [[f"label {number}" for number in each] for each in labels]
    names = [line for line in text_lines(file) if line]
    if len(names) != classes or len(set(names)) < len(names):
        raise DataError(
            f"{file} has {len(set(names))} names, but there are {classes} classes; give each class "
            "a line with a unique name, in the order of the label columns"
        )
    return [[names[number - base] for number in each] for each in labels]


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
            how = "may be read in several ways" if found else "has no such images"
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
