"""Bit conventions: the order of the bits, and the layout of codes in memory.

A code of K bits is `ceil(K / 8)` bytes of `uint8`. Bit 0 is the highest bit of byte 0 (big-endian
within a byte, as `numpy.packbits`), the bits after bit K-1 are zero, and a bit is 1 where the
logit is greater than 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from proxyhash.errors import DataError, UsageError

__all__ = [
    "MAX_BITS",
    "Codes",
    "binarize",
    "check_bits",
    "check_codes",
    "code_bytes",
    "pack",
    "signs",
    "unpack",
]

Codes = npt.NDArray[np.uint8]
"""Packed codes, shape (n, ceil(bits/8))."""

MAX_BITS = 65_528
"""Maximum code length: the largest distance still fits into `uint16`."""


def check_bits(bits: int) -> int:
    """Return the code length if it is valid.

    Raises:
        UsageError: "bits is 0; a code has between 1 and 65528 bits".
    """
    if not 1 <= bits <= MAX_BITS:
        raise UsageError(f"bits is {bits}; a code has between 1 and {MAX_BITS} bits")
    return int(bits)


def code_bytes(bits: int) -> int:
    """Return how many bytes a code of `bits` bits takes."""
    return (check_bits(bits) + 7) // 8


def pack(bits01: npt.ArrayLike) -> Codes:
    """Return packed codes, `uint8` (n, ceil(K/8)).

    Args:
        bits01: (n, K) bool, or integers 0 and 1.

    Raises:
        DataError: the array is not two-dimensional, or holds something other than 0 and 1.
    """
    array = np.asarray(bits01)
    _check_matrix(array, "bits")
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise DataError("bits to pack must be 0 or 1; use binarize() for real-valued logits")
    return np.packbits(array.astype(np.bool_, copy=False), axis=1)


def binarize(logits: npt.ArrayLike) -> Codes:
    """Return the codes of real-valued logits, `uint8` (n, ceil(K/8)): bit 1 means logit > 0.

    Args:
        logits: (n, K) real numbers; a logit of exactly 0 gives bit 0.

    Raises:
        DataError: "row 3 of the logits holds NaN; ...".
    """
    array = np.asarray(logits)
    _check_matrix(array, "logits")
    # The sum is NaN where any logit is, without a second array of their size (inf - inf is NaN
    # too, so a suspicious row is checked again).
    with np.errstate(invalid="ignore", over="ignore"):
        suspects = np.flatnonzero(np.isnan(array.sum(axis=1)))
    for row in suspects:
        if np.isnan(array[row]).any():
            raise DataError(
                f"row {row} of the logits holds NaN and has no code; did the model "
                "diverge, or is a feature file damaged?"
            )
    return np.packbits(array > 0, axis=1)


def unpack(codes: Codes, *, bits: int) -> npt.NDArray[np.bool_]:
    """Return the bits of packed codes, bool (n, bits)."""
    check_codes(codes, bits=bits)
    return np.unpackbits(codes, axis=1, count=bits).view(np.bool_)


def signs(codes: Codes, *, bits: int) -> npt.NDArray[np.int8]:
    """Return the bits as -1 and +1, `int8` (n, bits)."""
    return unpack(codes, bits=bits).astype(np.int8) * 2 - 1


def check_codes(codes: Any, *, bits: int, name: str = "codes") -> Codes:
    """Return `codes` if they are packed codes of `bits` bits.

    Raises:
        DataError: wrong type, shape or width, or bits set after the last one; says `name`.
    """
    width = code_bytes(bits)
    if not isinstance(codes, np.ndarray) or codes.dtype != np.uint8:
        found = codes.dtype if isinstance(codes, np.ndarray) else type(codes).__name__
        raise DataError(f"{name} must be packed uint8 codes, found {found}")
    _check_matrix(codes, name)
    if codes.shape[1] != width:
        raise DataError(
            f"{name} are {codes.shape[1]} bytes wide, but codes of {bits} bits take {width}; "
            "are they from another model?"
        )
    if bits % 8 and (codes[:, -1] & (0xFF >> bits % 8)).any():
        raise DataError(f"{name} have bits set after bit {bits}; they are not codes of {bits} bits")
    return codes


def _check_matrix(array: npt.NDArray[Any], name: str) -> None:
    if array.ndim != 2:
        raise DataError(f"{name} must have shape (n, K), found shape {array.shape}")
