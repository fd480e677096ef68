"""Small files of each format, and a slow reading of what they should become."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["ITEMS", "LABELS", "TAGS", "images", "write_v73"]

ITEMS = 5
LABELS = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1]], np.uint8)
_numbers = count()
TAGS = np.array([[i + 10 * j for j in range(6)] for i in range(ITEMS)], np.float64)


def images(count: int = ITEMS, height: int = 7, width: int = 9) -> NDArray[np.uint8]:
    """Images (n, h, w, 3) of which no two values that could be confused are equal."""
    values = np.random.default_rng(3).integers(0, 256, (count, height, width, 3))
    return values.astype(np.uint8)


def write_v73(path: Path, variables: Mapping[str, Any]) -> Path:
    """Write as MATLAB's `save -v7.3` does: axes reversed, characters as uint16, cells by reference.

    An array is a matrix, a string a row of characters, a tuple of strings a character matrix, a
    list a cell column, a dict a struct.
    """
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            _write(file, file, name, value)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    return path


def _write(file: Any, group: Any, name: str, value: Any) -> Any:
    if isinstance(value, dict):
        node = group.create_group(name)
        node.attrs["MATLAB_class"] = np.bytes_("struct")
        for field, inner in value.items():
            _write(file, node, field, inner)
        return node
    if isinstance(value, tuple) or (isinstance(value, str) and value):
        rows = [value] if isinstance(value, str) else value
        units = [np.frombuffer(row.encode("utf-16-le"), "<u2") for row in rows]
        codes = np.full((len(rows), max(map(len, units))), ord(" "), np.uint16)
        for row, each in zip(codes, units, strict=True):
            row[: len(each)] = each
        return _dataset(group, name, codes.T, "char")
    if isinstance(value, list):
        cells = file.require_group("#refs#")
        references = np.empty((1, len(value)), dtype=h5py.ref_dtype)
        for position, inner in enumerate(value):
            references[0, position] = _write(file, cells, f"r{next(_numbers)}", inner).ref
        return _dataset(group, name, references, "cell")
    if isinstance(value, str):  # an empty one: MATLAB stores its size
        node = _dataset(group, name, np.zeros(2, np.uint64), "char")
        node.attrs["MATLAB_empty"] = np.uint8(1)
        return node
    return _dataset(group, name, value.T, "double" if value.dtype.kind == "f" else value.dtype.name)


def _dataset(group: Any, name: str, values: Any, kind: str) -> Any:
    node = group.create_dataset(name, data=values)
    node.attrs["MATLAB_class"] = np.bytes_(kind)
    return node
