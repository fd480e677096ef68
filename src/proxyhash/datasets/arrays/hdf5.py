"""Variables of HDF5 files: MATLAB's version 7.3, and files that other programs wrote."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.datasets.arrays.variable import Variable, guarded
from proxyhash.errors import DataError, require_extra

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["is_hdf5", "read_hdf5"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MATLAB = b"MATLAB 7.3"
_USER_BLOCK = 512  # in front of which MATLAB puts a header of its own
_MAX_CELLS = 10_000_000
_MAX_TEXT_BYTES = 2 << 30
_MAX_CHARACTERS = 1 << 20
_MAX_SENTENCES = 1000
_MAX_DEPTH = 3


def is_hdf5(path: Path) -> bool:
    """Return whether the file begins as HDF5 does, with or without MATLAB's header."""
    with path.open("rb") as file:
        head = file.read(_USER_BLOCK + len(_SIGNATURE))
    return head.startswith(_SIGNATURE) or head[_USER_BLOCK:] == _SIGNATURE or _is_matlab(head)


def _is_matlab(head: bytes) -> bool:
    return head.startswith(_MATLAB)


def read_hdf5(path: Path) -> list[Variable]:
    """Return the file's variables, those in groups as `group/name`; reads headers only.

    MATLAB keeps a matrix as its transpose: the axes of what it wrote are turned round here.

    Raises:
        DataError: the file is damaged.
        MissingExtraError: "reading FLICKR-25K.mat needs h5py: pip install 'proxyhash[formats]'".
    """
    h5py = require_extra("h5py", extra="formats", purpose=f"reading {path.name}")

    def read() -> list[Variable]:
        with path.open("rb") as head:
            matlab = _is_matlab(head.read(len(_MATLAB)))
        variables: list[Variable] = []
        with h5py.File(path, "r") as file:

            def visit(name: str, node: Any) -> None:
                if not isinstance(node, h5py.Dataset) or node.shape is None or name[0] == "#":
                    return
                variable = _variable(h5py, path, name, node, matlab=matlab)
                if variable is not None:
                    variables.append(variable)

            file.visititems(visit)
        return variables

    return list(guarded(path, read))


def _variable(h5py: Any, path: Path, name: str, node: Any, *, matlab: bool) -> Variable | None:
    turned = matlab or "MATLAB_class" in node.attrs or _is_image_array(name, node)
    shape = tuple(map(int, node.shape[::-1] if turned else node.shape))

    def block(start: int, stop: int, axis: int) -> NDArray[Any]:
        with h5py.File(path, "r") as file:
            dataset = file[name]
            stored = dataset.ndim - 1 - axis if turned else axis
            values: NDArray[Any] = dataset[(slice(None),) * stored + (slice(start, stop),)]
        return values.T if turned else values

    if _matlab_class(node) == "char" or _is_text(h5py, node.dtype):
        rows = partial(_sentences, h5py, path, name)
        return Variable(path, name, shape, "text", not turned, block, rows)
    if node.dtype.kind in "fiub" and shape:
        return Variable(path, name, shape, "numbers", not turned, block)
    return None


def _is_image_array(name: str, node: Any) -> bool:
    """`IAll`, whose axes the loaders of the literature turn round whoever wrote it."""
    return name.lower() == "iall" and node.ndim == 4


def _is_text(h5py: Any, dtype: Any) -> bool:
    return (
        dtype.kind == "S"
        or h5py.check_string_dtype(dtype) is not None
        or h5py.check_ref_dtype(dtype) is not None
    )


def _matlab_class(node: Any) -> str:
    value = node.attrs.get("MATLAB_class", b"")
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)


def _sentences(h5py: Any, path: Path, name: str) -> list[list[str]]:
    with h5py.File(path, "r") as file:
        node = file[name]
        cells = h5py.check_ref_dtype(node.dtype) is not None
        many = node.size > _MAX_CELLS if cells else node.nbytes > _MAX_TEXT_BYTES
        if many:
            raise DataError(f"{path}: {name} has {node.size:,} entries; are they texts?")
        if node.dtype.kind in "ui":
            return [_cleaned([text]) for text in _texts(path, name, node)]
        values = node[()].T if cells else node[()]
        rows = values.reshape(-1, 1) if values.ndim < 2 or 1 in values.shape else values
        if not cells:
            return [_cleaned([_text(each) for each in row]) for row in rows]
        return [
            _cleaned([text for cell in row for text in _cell(h5py, path, file, cell, 0)])
            for row in rows
        ]


def _cell(h5py: Any, path: Path, file: Any, reference: Any, depth: int) -> list[str]:
    """The strings in a cell and in the cells inside of it."""
    if not reference:
        return []
    node = file[reference]
    if "MATLAB_empty" in node.attrs:
        return []
    leaf = h5py.check_ref_dtype(node.dtype) is None
    if depth > _MAX_DEPTH or node.size > (_MAX_CHARACTERS if leaf else _MAX_SENTENCES):
        raise DataError(f"{path}: a cell of {node.size:,} entries, {depth} deep, is not a caption")
    if leaf:
        return _texts(path, node.name, node)
    return [
        text for inner in node[()].T.ravel() for text in _cell(h5py, path, file, inner, depth + 1)
    ]


def _texts(path: Path, name: str, node: Any) -> list[str]:
    """Each row of a character matrix, or each string of a dataset of strings."""
    values = node[()]
    if node.dtype.kind in "ui":
        codes = np.atleast_2d(np.asarray(values, dtype="<u2").T)
        return [row.tobytes().decode("utf-16-le", "replace") for row in codes]
    if node.dtype.kind in "SO":
        return [_text(each) for each in np.ravel(values)]
    raise DataError(f"{path}: {name} holds {node.dtype}, not text; strings are expected")


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _cleaned(texts: list[str]) -> list[str]:
    return [text for text in (each.strip().strip("\0") for each in texts) if text]
