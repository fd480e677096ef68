"""Read a matrix of features from a NumPy, HDF5 or MATLAB file."""

from __future__ import annotations

import mmap
import zipfile
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.errors import FeatureError, ProxyhashError, require_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["SUFFIXES", "FeatureTable", "open_table", "release"]

SUFFIXES = (".npy", ".npz", ".h5", ".hdf5", ".mat")

_IDS = "ids"


@dataclass(frozen=True)
class FeatureTable:
    """Matrix in a file, not read yet.

    Attributes:
        path: the file.
        name: the array's name in it, "" in a `.npy` file.
        shape: rows and columns.
        has_ids: whether the file has the id of each row.
    """

    path: Path
    name: str
    shape: tuple[int, int]
    has_ids: bool
    _load: Callable[[], NDArray[Any]]
    _load_ids: Callable[[], Any] | None

    def values(self) -> NDArray[np.float32]:
        """Return the matrix, float32 of `shape`, as a copy in memory.

        Raises:
            FeatureError: it cannot be read.
        """
        with np.errstate(over="ignore"):  # becomes infinite, which the caller checks
            return np.array(_guarded(self.path, self._load), dtype=np.float32, order="C")

    def mapped(self) -> NDArray[np.float32] | None:
        """Return the matrix as it lies in the file, read as it is used, never written.

        None unless it is a `.npy` file of float32 in C order.
        """
        if self.path.suffix.lower() != ".npy":
            return None
        values = _guarded(self.path, self._load)
        fits = values.dtype == np.float32 and values.flags.c_contiguous
        return values if fits and isinstance(values, np.memmap) else None

    def ids(self) -> list[str]:
        """Return the id of each row.

        Raises:
            FeatureError: the number of ids is not that of the rows, or an id occurs twice.
        """
        assert self._load_ids is not None
        ids = _strings(_guarded(self.path, self._load_ids))
        if len(ids) != self.shape[0]:
            raise FeatureError(
                f"{self.path}: {_IDS!r} has {len(ids)} entries, but there are {self.shape[0]} rows"
            )
        if len(set(ids)) != len(ids):
            twice = next(id_ for number, id_ in enumerate(ids) if id_ in set(ids[:number]))
            raise FeatureError(f"{self.path}: {_IDS!r} has {twice!r} twice")
        return ids


def release(values: NDArray[Any]) -> None:
    """Take what was read of a memory-mapped array out of this process; it stays in the cache.

    Without it, a process that reads a file once from end to end seems to take all of its size.
    """
    mapped = getattr(values, "_mmap", None)
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class _Array:
    """Array in a file: its header, and a function that reads it."""

    shape: tuple[int, ...]
    numeric: bool
    load: Callable[[], Any]


def open_table(path: Path, *, key: str | None = None) -> FeatureTable:
    """Return the table called `key`, or the only one in the file; reads only headers.

    Raises:
        FeatureError: the file is not a feature file, has no table of that name, or has several
            and there is no `key`: "... has several arrays; choose one: PATH#image, PATH#text".
    """
    readers = {
        ".npy": _npy,
        ".npz": _npz,
        ".h5": _hdf5,
        ".hdf5": _hdf5,
        ".mat": _mat,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise FeatureError(f"{path}: feature files end in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise FeatureError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    arrays = dict(_guarded(path, lambda: list(reader(path))))
    ids = arrays.pop(_IDS, None)
    tables = {name: array for name, array in arrays.items() if array.numeric and _is_table(array)}
    name = _choose(path, tables, arrays, key)
    rows, columns = tables[name].shape
    return FeatureTable(
        path, name, (rows, columns), ids is not None, tables[name].load, ids.load if ids else None
    )


def _is_table(array: _Array) -> bool:
    return len(array.shape) == 2 and array.shape[1] > 0


def _choose(
    path: Path, tables: dict[str, _Array], arrays: dict[str, _Array], key: str | None
) -> str:
    if key is None and len(tables) == 1:
        return next(iter(tables))
    if key in tables:
        return str(key)
    if not tables:
        found = ", ".join(f"{name} {array.shape}" for name, array in sorted(arrays.items()))
        raise FeatureError(f"{path}: it has no numeric matrix (found: {found or 'nothing'})")
    choices = ", ".join(
        f"{path}#{name} {table.shape[0]}x{table.shape[1]}" for name, table in sorted(tables.items())
    )
    if key is None:
        raise FeatureError(f"{path} has several arrays; choose one: {choices}")
    raise FeatureError(f"{path} has no matrix {key!r}; choose one: {choices}")


def _guarded(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except ProxyhashError:
        raise
    except Exception as error:  # NumPy, SciPy and HDF5 raise different errors for a damaged file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FeatureError(
            f"{path}: cannot be read ({reason}); copy it again from the original, or write it again"
        ) from error


def _npy(path: Path) -> Iterator[tuple[str, _Array]]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    yield "", _Array(array.shape, array.dtype.kind in "fiu", lambda: array)


def _npz(path: Path) -> Iterator[tuple[str, _Array]]:
    def load(name: str) -> Any:
        with np.load(path, allow_pickle=False) as archive:
            return archive[name]

    with zipfile.ZipFile(path) as archive:
        for entry in archive.namelist():
            with archive.open(entry) as file:
                version = np.lib.format.read_magic(file)
                header = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = header(file)
            name = entry.removesuffix(".npy")
            yield name, _Array(shape, dtype.kind in "fiu", partial(load, name))


def _hdf5(path: Path, *, transposed: bool = False) -> Iterator[tuple[str, _Array]]:
    h5py = require_extra("h5py", extra="formats", purpose=f"reading {path.name}")

    def load(name: str) -> Any:
        with h5py.File(path, "r") as file:
            dataset = file[name]
            if h5py.check_ref_dtype(dataset.dtype) is not None:  # a MATLAB cell array of strings
                return ["".join(map(chr, np.ravel(file[cell][()]))) for cell in dataset[()].ravel()]
            if h5py.check_string_dtype(dataset.dtype) is not None:
                return dataset.asstr()[()]
            return dataset[()].T if transposed else dataset[()]

    datasets: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda name, node: (
                datasets.update({name: (node.shape, node.dtype)})
                if isinstance(node, h5py.Dataset)
                else None
            )
        )
    for name, (shape, dtype) in datasets.items():
        if shape is None or name.startswith("#"):  # empty ones, and MATLAB's own "#refs#"
            continue
        read_shape = shape[::-1] if transposed else shape
        yield name, _Array(read_shape, dtype.kind in "fiu", partial(load, name))


def _mat(path: Path) -> Iterator[tuple[str, _Array]]:
    import scipy.io
    from scipy.sparse import issparse

    with path.open("rb") as file:
        if file.read(116).startswith(b"MATLAB 7.3"):
            # Version 7.3 is HDF5, in which a column-major matrix is transposed.
            yield from _hdf5(path, transposed=True)
            return

    def load(name: str) -> Any:
        value: Any = scipy.io.loadmat(path, variable_names=[name])[name]
        return value.toarray() if issparse(value) else value  # type: ignore[attr-defined]

    for name, shape, kind in scipy.io.whosmat(path):
        numeric = kind in {"double", "single", "sparse"} or "int" in kind
        yield name, _Array(tuple(shape), numeric, partial(load, name))


def _strings(values: Any) -> list[str]:
    """Return ids as strings, from text, bytes, integers or MATLAB cells."""
    return [_string(value) for value in np.ravel(np.asarray(values))]


def _string(value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = value.item() if value.size == 1 else ""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value).strip()
