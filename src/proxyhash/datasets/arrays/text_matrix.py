"""Matrices in text files, one row a line."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.datasets.arrays.variable import MAX_BYTES
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["read_text_matrix"]


def read_text_matrix(path: Path) -> NDArray[np.float32]:
    """Return the numbers of a file, float32, one row a line, blanks or commas in between.

    Raises:
        DataError: a line has another number of columns than the first, or no numbers.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has over {MAX_BYTES >> 30} GiB; is it the right file?")
        with path.open(encoding="utf-8-sig") as file:
            delimiter = "," if "," in file.readline(1 << 20) else None
        with warnings.catch_warnings(), path.open(encoding="utf-8-sig") as file:
            warnings.simplefilter("ignore", UserWarning)  # of an empty file, refused below
            values = np.loadtxt(file, dtype=np.float32, delimiter=delimiter, comments=None, ndmin=2)
    except (OSError, ValueError) as error:
        reason = str(error).partition(";")[0]
        raise DataError(
            f"{path} cannot be read as a matrix ({reason}); rows of numbers are expected"
        ) from error
    if not values.size:
        raise DataError(f"{path} is empty; rows of numbers are expected")
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise DataError(f"{path}, line {int(bad.argmax()) + 1}: there is NaN or infinity")
    return np.asarray(values)
