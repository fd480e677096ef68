"""Read `.npy` arrays of unknown origin: the header is bounded, and the file as long as it says.

numpy's own reader evaluates the header as Python, may raise nearly anything, and allocates what a
header claims. Here a header is matched against the one form in which `numpy.save` writes it.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from proxyhash.errors import DataError
from proxyhash.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy.typing as npt

__all__ = ["ArrayHeader", "cut_short", "map_array", "read_array_header", "read_array_stream"]

MAX_HEADER = 4096
"""Bytes of a header; `numpy.save` writes 118 for an array of less than ten dimensions."""

_MAGIC = b"\x93NUMPY"
_FORM = re.compile(
    rb"\{\s*'descr':\s*'([<>|=]?[biufU]\d{1,9})',\s*'fortran_order':\s*(True|False),"
    rb"\s*'shape':\s*\(((?:\d{1,18},\s*)*(?:\d{1,18})?)\),?\s*\}\s*"
)


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """Header of an `.npy` file.

    Attributes:
        dtype: numbers, truth values or text; never objects or structures.
        shape: at most 32 dimensions.
        fortran: whether the first index varies fastest.
        nbytes: how many bytes the content takes.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool

    @property
    def nbytes(self) -> int:  # noqa: D102
        return math.prod(self.shape) * self.dtype.itemsize


def read_array_header(stream: IO[bytes]) -> ArrayHeader:
    """Read the header of an `.npy` file; the stream is left at the content.

    Raises:
        DataError: "it is not a numpy array that can be read (...)".
    """
    start = stream.read(8)
    width = {b"\x01\x00": 2, b"\x02\x00": 4}.get(start[6:8])
    if start[:6] != _MAGIC or width is None:
        raise _unreadable("it does not begin as one")
    length = int.from_bytes(stream.read(width), "little")
    if length > MAX_HEADER:
        raise _unreadable(f"its header takes {length:,} bytes")
    text = stream.read(length)
    found = _FORM.fullmatch(text)
    if len(text) != length or found is None:
        raise _unreadable("its header is not one of numbers, truth values or text")
    try:
        dtype = np.dtype(found[1].decode())
    except (TypeError, ValueError) as error:
        raise _unreadable(f"numpy has no type {found[1].decode()}") from error
    shape = tuple(int(side) for side in found[3].decode().replace(",", " ").split())
    if len(shape) > 32 or math.prod(side for side in shape if side) * dtype.itemsize >= 2**63:
        raise _unreadable("its shape is larger than any memory")
    if found[3].rstrip().isdigit():  # "(3)" is a number, not a shape
        raise _unreadable("its header is not one of numbers, truth values or text")
    return ArrayHeader(dtype, shape, found[2] == b"True")


def read_array_stream(stream: IO[bytes], header: ArrayHeader) -> npt.NDArray[Any]:
    """Read the content that follows a header, into memory.

    Raises:
        DataError: "it ends after 7 of 9 bytes".
    """
    content = bytearray(header.nbytes)
    rest = memoryview(content)
    while rest:
        part = stream.read(min(len(rest), 1 << 24))
        if not part:
            there = header.nbytes - len(rest)
            raise DataError(f"it ends after {there:,} of {header.nbytes:,} bytes")
        rest[: len(part)] = part
        rest = rest[len(part) :]
    flat = np.frombuffer(content, header.dtype, math.prod(header.shape))
    return flat.reshape(header.shape, order="F" if header.fortran else "C")


def map_array(path: Path, *, dtypes: Iterable[npt.DTypeLike], dimensions: int) -> npt.NDArray[Any]:
    """Return the array of an `.npy` file, memory-mapped for reading.

    Args:
        path: a regular file, not a link.
        dtypes: the types that it may have, in this machine's byte order.
        dimensions: how many it must have.

    Raises:
        DataError: the file is missing, not as long as its header says, or of another type.
    """
    try:
        file = open_regular(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    with file:
        size = os.fstat(file.fileno()).st_size
        try:
            header = read_array_header(file)
        except DataError as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        start = file.tell()
        if size != start + header.nbytes:
            raise DataError(
                f"{path} has {size:,} bytes, not the {start + header.nbytes:,} of its "
                f"shape {header.shape}"
            )
        allowed = [np.dtype(one) for one in dtypes]
        if header.dtype not in allowed or len(header.shape) != dimensions or header.fortran:
            raise DataError(
                f"{path} is {header.dtype} of shape {header.shape}; expected "
                f"{' or '.join(map(str, allowed))} with {dimensions} dimensions"
            )
        if not header.nbytes:
            return np.empty(header.shape, header.dtype)
        mapped = mmap(file.fileno(), size, access=ACCESS_READ)
    count = math.prod(header.shape)
    return np.frombuffer(mapped, header.dtype, count, offset=start).reshape(header.shape)


def cut_short(array: npt.NDArray[Any]) -> bool:
    """Whether the file that an array maps became shorter: touching its end would be fatal.

    False for an array in memory. Takes less than a microsecond.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    return isinstance(base, mmap) and base.size() < len(base)


def _unreadable(why: str) -> DataError:
    return DataError(f"it is not a numpy array that can be read ({why})")
