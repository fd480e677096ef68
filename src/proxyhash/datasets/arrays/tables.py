"""Matrices of the items of one part: which way round they are, and reading them within bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxyhash.datasets.arrays.variable import MAX_BYTES, Variable, listed
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["item_axis", "read_numbers", "read_table"]

_BLOCK_VALUES = 1 << 24


def item_axis(
    labels: Variable, tables: Sequence[Variable], others: Sequence[int]
) -> tuple[int, int]:
    """Return how many items a part has, and which axis of its tables counts them.

    That axis is the first, save in HDF5 files without MATLAB's marks, which may have it last.

    Args:
        labels: a matrix, or a vector of category numbers, which may lie or stand.
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
        f"{labels.path.parent}: one row an item is expected of each, found were "
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
        DataError: there are others in it.
    """
    values = variable.block(0, variable.shape[0], axis=0).ravel()
    with np.errstate(invalid="ignore"):  # NaN, which differs from itself
        numbers = values.astype(np.int64)
    if not np.array_equal(numbers, values):
        raise DataError(f"{variable.path}: {variable} holds no whole numbers; they number items")
    return np.asarray(numbers)
