"""Checked arguments of every engine, in the form in which kernels take them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from proxyhash.codes import Codes, check_bits, check_codes
from proxyhash.codes.kernels import as_words, default_threads
from proxyhash.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CodeRows", "SearchArguments", "check_known", "frozen", "read_search"]


def frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a read-only view: kernels are compiled once for it, mapped from a file or not."""
    flags = array.flags
    whole = flags.c_contiguous and flags.aligned
    view = (array if whole else np.require(array, requirements=["C", "A"])).view(np.ndarray)
    view.setflags(write=False)
    return view


NO_MASK: npt.NDArray[np.bool_] = frozen(np.empty(0, np.bool_))
NO_ORDER: npt.NDArray[np.uint64] = frozen(np.empty(0, np.uint64))


class CodeRows:
    """The codes and the order of an engine's rows.

    Args:
        codes: packed codes, uint8 (n, ceil(bits/8)); not copied.
        bits: the code length.
        order: uint64 (n,), or None for the order of the rows; not copied.

    Attributes:
        count: n.
        width: words per code.
        words: the codes as words, read-only, (n * width,).
        order: read-only uint64 (n,), or empty for the order of the rows.

    Raises:
        DataError: the codes are not codes of `bits` bits, or the order does not fit them.
    """

    def __init__(
        self, codes: Codes, *, bits: int, order: npt.NDArray[np.uint64] | None = None
    ) -> None:
        self.bits = check_bits(bits)
        self.codes = check_codes(codes, bits=bits)
        self.count = len(codes)
        if order is not None and (order.dtype != np.uint64 or order.shape != (self.count,)):
            raise DataError(
                f"the order must be uint64 of shape ({self.count},), "
                f"found {order.dtype} of shape {order.shape}"
            )
        words = as_words(codes)
        self.width = words.shape[1]
        self.words = frozen(words.reshape(-1))
        self.order = frozen(NO_ORDER if order is None else order)

    @property
    def nbytes(self) -> int:
        """Memory of the codes and the order, in bytes."""
        return int(self.words.nbytes + self.order.nbytes)


@dataclass(frozen=True, slots=True)
class SearchArguments:
    """A search that was checked.

    Attributes:
        query: the queries as words, read-only, (q, width).
        k: at most this many rows per query, and at most as many as may be returned.
        radius: no row farther than this, between 0 and bits.
        mask: read-only bool (n,), or empty where every row may be returned.
        allowed: how many rows may be returned.
        threads: at least 1.
    """

    query: npt.NDArray[Any]
    k: int
    radius: int
    mask: npt.NDArray[np.bool_]
    allowed: int
    threads: int

    @property
    def limited(self) -> bool:
        """Whether k may cut anything off."""
        return self.k < self.allowed

    def of(self, queries: npt.NDArray[np.int64]) -> SearchArguments:
        """Return the same search for some of its queries, given by their places."""
        return replace(self, query=frozen(self.query[queries]))


def read_search(
    query: Codes,
    *,
    bits: int,
    count: int,
    k: int | None,
    radius: int | None,
    mask: npt.NDArray[np.bool_] | None,
    threads: int | None,
) -> SearchArguments:
    """Return the arguments of `Engine.search` after checking them.

    Raises:
        UsageError: "k is 0; it must be at least 1", and the like.
        DataError: the queries are not codes of `bits` bits, or the mask does not fit.
    """
    check_codes(query, bits=bits, name="query codes")
    if k is None and radius is None:
        raise UsageError("neither k nor a radius is given; a search needs one of them")
    if k is not None and k < 1:
        raise UsageError(f"k is {k}; it must be at least 1")
    if radius is not None and radius < 0:
        raise UsageError(f"radius is {radius}; it must be at least 0")
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}; it must be at least 1")
    allowed = count
    if mask is not None:
        if mask.dtype != np.bool_ or mask.shape != (count,):
            raise DataError(
                f"the mask must be bool of shape ({count},), "
                f"found {mask.dtype} of shape {mask.shape}"
            )
        allowed = int(np.count_nonzero(mask))
    return SearchArguments(
        query=frozen(as_words(query)),
        k=allowed if k is None else min(k, allowed),
        radius=bits if radius is None else min(radius, bits),
        mask=frozen(NO_MASK if mask is None or allowed == count else mask),
        allowed=allowed,
        threads=default_threads() if threads is None else threads,
    )


def check_known(engine: str, options: Iterable[str]) -> None:
    """Refuse options that an engine does not have.

    Raises:
        UsageError: "engine scan has no option 'lists'".
    """
    for name in options:
        raise UsageError(f"engine {engine} has no option {name!r}")
