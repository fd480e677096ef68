"""Variables of MATLAB files up to version 7, which SciPy reads."""

from __future__ import annotations

import zlib
from functools import cache, partial
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from proxyhash.datasets.arrays.variable import MAX_BYTES, Variable, guarded
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["read_matlab5"]

_BITS = {"logical": 8, "int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32, "uint32": 32}
_NUMERIC = {"double", "single", "sparse", "int64", "uint64", *_BITS}
_MAX_TEXT_BYTES = 2 << 30  # a file with cells or structs, unpacked
_HEADER_BYTES = 128
_BYTE_ORDERS: dict[bytes, Literal["little", "big"]] = {b"IM": "little", b"MI": "big"}
_COMPRESSED = 15


def read_matlab5(path: Path) -> list[Variable]:
    """Return the file's variables; reads headers, and structs, whose fields become variables.

    Raises:
        DataError: it is not a MATLAB file, is damaged, or unpacks to more than fits in memory.
    """
    from scipy.io import whosmat

    found = guarded(path, lambda: whosmat(path))
    _check_whole(path)
    return [each for entry in found for each in _variables(path, *entry)]


def _variables(path: Path, name: str, shape: tuple[int, ...], kind: str) -> Iterator[Variable]:
    shape = tuple(map(int, shape))
    if kind in _NUMERIC:
        bits = _BITS.get(kind, 64)
        if int(np.prod(shape, dtype=object)) * bits // 8 > MAX_BYTES:
            raise DataError(
                f"{path}: {name} has shape {shape}, more than fits in {MAX_BYTES >> 30} GiB; "
                "save it with -v7.3, which is read in parts"
            )
        load = cache(partial(_load, path, name))  # images are asked for block by block
        yield Variable(path, name, shape, "numbers", loose=False, _block=partial(_block, load))
    elif kind in {"char", "cell"}:
        rows = partial(_sentences, path, name)
        yield Variable(path, name, shape, "text", loose=False, _sentences=rows)
    elif kind == "struct":
        for field, values in _fields(path, name):
            block = partial(_slice, values)
            yield Variable(path, f"{name}/{field}", values.shape, "numbers", False, block)


def _slice(values: NDArray[Any], start: int, stop: int, axis: int) -> NDArray[Any]:
    return values[(slice(None),) * axis + (slice(start, stop),)]


def _load(path: Path, name: str) -> Any:
    from scipy.io import loadmat
    from scipy.sparse import issparse

    value: Any = loadmat(path, variable_names=[name])[name]
    return value.toarray() if issparse(value) else value  # type: ignore[attr-defined]


def _block(load: Callable[[], Any], start: int, stop: int, axis: int) -> NDArray[Any]:
    return _slice(load(), start, stop, axis)


def _fields(path: Path, name: str) -> Iterator[tuple[str, NDArray[Any]]]:
    _check_unpacked(path)
    value = guarded(path, lambda: _load(path, name))
    for field in (value.dtype.names or ()) if value.size == 1 else ():
        values = value[field].item()
        if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
            yield field, values


def _sentences(path: Path, name: str) -> list[list[str]]:
    _check_unpacked(path)
    value = np.asarray(_load(path, name))
    if value.ndim > 1 and value.shape[0] == 1:
        value = value[0]
    return [_strings(entry) for entry in value]


def _strings(value: Any) -> list[str]:
    """The strings in nested cells, one after the other."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "OU":  # an empty cell is an empty matrix of numbers
            return []
        return [text for entry in value.ravel() for text in _strings(entry)]
    text = str(value).strip()
    return [text] if text else []


def _elements(path: Path) -> Iterator[tuple[BinaryIO, int, int]]:
    """Yield the open file at the content of each element, what kind it is, and where it ends."""
    with path.open("rb") as file:
        order = _BYTE_ORDERS.get(file.read(_HEADER_BYTES)[-2:])
        while order is not None and len(tag := file.read(8)) == 8:
            kind, size = (int.from_bytes(tag[at : at + 4], order) for at in (0, 4))
            end = file.tell() + size
            yield file, kind, end
            file.seek(end)


def _check_whole(path: Path) -> None:
    """Refuse a file that was cut: SciPy reads what is left of it as if that were all."""
    size = path.stat().st_size
    for _, _, end in _elements(path):
        if end > size:
            raise DataError(
                f"{path} is cut short: it has {size:,} bytes, not {end:,}; copy it again"
            )


def _check_unpacked(path: Path) -> None:
    """Refuse a file that unpacks beyond bounds: no header tells the size of cells."""
    total = path.stat().st_size
    for file, kind, end in _elements(path):
        unpacker = zlib.decompressobj()
        while kind == _COMPRESSED and file.tell() < end and total <= _MAX_TEXT_BYTES:
            part = file.read(min(1 << 16, end - file.tell()))
            total += len(guarded(path, partial(unpacker.decompress, part)))
        if total > _MAX_TEXT_BYTES:
            raise DataError(
                f"{path} unpacks to more than {_MAX_TEXT_BYTES >> 30} GiB, too much for a file "
                "with cells or structs; save its variables in files of their own"
            )
