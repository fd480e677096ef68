"""From a matrix of labels, or a column of category numbers, to names."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.datasets.files import text_lines
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["NAMES_FILE", "label_names", "labels_of"]

NAMES_FILE = "label_names.txt"
"""A file beside the data set's, with the name of one class a line, in the columns' order."""


def labels_of(where: str, values: NDArray[np.float32]) -> list[tuple[int, ...]]:
    """Return the classes of each item, by number.

    Args:
        where: file and variable, for messages.
        values: (n, C), 1 where an item has a label, 0 or -1 where it has not; or (n, 1), the
            number of its one category.

    Raises:
        DataError: the values are no labels.
    """
    if values.shape[1] == 1:
        if (values < 0).any() or (values % 1).any():
            raise DataError(f"{where}: categories are whole numbers, not such as {values.min()}")
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
        columns: C of the matrix, 1 for category numbers, which may count from 0 or 1.

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
            "a line with a name of its own, in the order of the label columns"
        )
    return [[names[number - base] for number in each] for each in labels]
