"""Asymmetric distances: the query keeps its real-valued outputs, the gallery has bits alone.

A network's outputs lie between -1 and 1, and the sign of each is a bit. The asymmetric distance
between outputs h and a code b in {-1, +1}^K is (sum_k |h_k| - h . b) / 2: the sum of |h_k| over the
bits in which the code differs from the query's. It is the Hamming distance with each bit weighted
by the query's confidence in it, so that the order is that of h . b; the gallery costs no byte more.

Weights are whole numbers, `ONE` for a confidence of 1, so that sums are exact and equal distances
are equal whatever computed them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from proxyhash.codes.bits import Codes, check_codes
from proxyhash.codes.kernels import default_threads, kernel, prefetch, run_blocks
from proxyhash.errors import DataError, UsageError

__all__ = [
    "ONE",
    "Ranked",
    "Weights",
    "asymmetric_distances",
    "asymmetric_top_k",
    "check_weights",
    "paired_asymmetric_distances",
    "weights_of",
]

Weights = npt.NDArray[np.uint16]
"""The confidence in each bit of a query, uint16 (q, K), in units of 1 / `ONE`."""

ONE = 65_535
"""The weight of a bit whose output is -1 or 1. The sum over the longest code fits into uint32."""

_SPLIT = 2**18  # rows of few queries are spread over threads from here on
_AHEAD = 16  # listed codes that are called for before the one that is weighed
_SORTED_PART = 8  # from this part of the gallery on, sorting takes less than a heap


@dataclass(frozen=True)
class Ranked:
    """The nearest gallery items of each query, ordered by (distance, order).

    Attributes:
        positions: int64 (q, m), rows of the gallery.
        distances: (q, m) whole numbers: asymmetric distances uint32, in units of 1 / `ONE` bit.
    """

    positions: npt.NDArray[np.int64]
    distances: npt.NDArray[Any]


def weights_of(outputs: npt.ArrayLike) -> Weights:
    """Return the confidence in each bit, uint16 (q, K).

    Args:
        outputs: (q, K) real numbers; beyond -1 and 1 the confidence is 1.

    Raises:
        DataError: the outputs are not a matrix, or hold NaN.
    """
    array = np.asarray(outputs, np.float64)
    if array.ndim != 2:
        raise DataError(f"outputs must have shape (queries, bits), found shape {array.shape}")
    if np.isnan(array).any():
        raise DataError("the outputs hold NaN; did the model diverge?")
    weights: Weights = np.rint(np.minimum(np.abs(array), 1) * ONE).astype(np.uint16)
    return weights


def check_weights(weights: Any, *, queries: int, bits: int) -> Weights:
    """Return `weights` if they are those of so many queries.

    Raises:
        DataError: wrong type or shape.
    """
    shape = (queries, bits)
    if not isinstance(weights, np.ndarray) or weights.dtype != np.uint16 or weights.shape != shape:
        found = (
            f"{weights.dtype} of shape {weights.shape}"
            if isinstance(weights, np.ndarray)
            else type(weights).__name__
        )
        raise DataError(f"weights must be uint16 of shape {shape}, found {found}; use weights_of()")
    return weights


def asymmetric_distances(
    query: Codes, weights: Weights, gallery: Codes, *, threads: int | None = None
) -> npt.NDArray[np.uint32]:
    """Return all asymmetric distances, uint32 (q, n), in units of 1 / `ONE` bit.

    Args:
        query: packed codes (q, B).
        weights: the confidence in each of their bits, uint16 (q, K).
        gallery: packed codes (n, B).
        threads: how many threads to use; default all cores.

    Raises:
        DataError: codes or weights of the wrong type or shape.
    """
    query, gallery = _checked(query, weights, gallery)
    result = np.empty((len(query), len(gallery)), np.uint32)

    def work(start: int, stop: int) -> None:
        for row in range(start, stop):
            _distances(_table(query[row], weights[row]), gallery, result[row])

    run_blocks(work, len(query), threads=threads, block=1)
    return result


def paired_asymmetric_distances(
    query: Codes,
    weights: Weights,
    gallery: Codes,
    owners: npt.NDArray[np.int64],
    *,
    rows: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.uint32]:
    """Return the asymmetric distance of each of some gallery codes to one query, uint32 (m,).

    Args:
        query: packed codes (q, B).
        weights: uint16 (q, K).
        gallery: packed codes (n, B).
        owners: int64 (m,), the query of each code, ascending.
        rows: int64 (m,), the places of the codes in the gallery; default all, m = n.
    """
    query, gallery = _checked(query, weights, gallery)
    result = np.empty(len(owners), np.uint32)
    edges = np.searchsorted(owners, np.arange(len(query) + 1))
    for row in range(len(query)):
        part = slice(edges[row], edges[row + 1])
        table = _table(query[row], weights[row])
        if rows is None:
            _distances(table, gallery[part], result[part])
        else:
            _listed_distances(table, gallery, rows[part], result[part])
    return result


def asymmetric_top_k(
    query: Codes,
    weights: Weights,
    gallery: Codes,
    *,
    k: int,
    mask: npt.NDArray[np.bool_] | None = None,
    order: npt.NDArray[np.uint64] | None = None,
    threads: int | None = None,
) -> Ranked:
    """Return the nearest min(k, n) gallery items by asymmetric distance, from all of them.

    Args:
        query: packed codes (q, B).
        weights: the confidence in each of their bits, uint16 (q, K).
        gallery: packed codes (n, B).
        k: how many to return, at least 1.
        mask: bool (n,); items where it is False are never returned, and n counts the others.
        order: uint64 (n,), all different; ties go to the smaller one. Default: the position.
        threads: how many threads to use; default all cores.

    Raises:
        UsageError: "k is 0; it must be at least 1".
        DataError: codes, weights, mask or order of the wrong type or shape.
    """
    if k < 1:
        raise UsageError(f"k is {k}; it must be at least 1")
    query, gallery = _checked(query, weights, gallery)
    count = len(gallery)
    for name, array, dtype in (("mask", mask, np.bool_), ("order", order, np.uint64)):
        if array is not None and (array.dtype != dtype or array.shape != (count,)):
            raise DataError(
                f"the {name} must be {np.dtype(dtype)} of shape ({count},), "
                f"found {array.dtype} of shape {array.shape}"
            )
    allowed = count if mask is None else int(mask.sum())
    k = min(k, allowed)
    if k * _SORTED_PART >= count:
        return _sorted(query, weights, gallery, k=k, mask=mask, order=order, threads=threads)
    threads = default_threads() if threads is None else threads
    parts = threads if len(query) < threads and count >= _SPLIT else 1
    edges = np.linspace(0, count, parts + 1).astype(np.int64)
    found = np.empty((len(query), parts, k), np.uint32)
    rows = np.empty((len(query), parts, k), np.int64)
    sizes = np.zeros((len(query), parts), np.int64)
    no_mask, no_order = np.empty(0, np.bool_), np.empty(0, np.uint64)

    def work(start: int, stop: int) -> None:
        for unit in range(start, stop):
            row, part = divmod(unit, parts)
            sizes[row, part] = _nearest(
                _table(query[row], weights[row]),
                gallery,
                edges[part],
                edges[part + 1],
                no_mask if mask is None else np.ascontiguousarray(mask),
                no_order if order is None else np.ascontiguousarray(order),
                found[row, part],
                rows[row, part],
            )

    run_blocks(work, len(query) * parts, threads=threads, block=1)
    positions = np.empty((len(query), k), np.int64)
    distances = np.empty((len(query), k), np.uint32)
    for row in range(len(query)):
        kept = np.arange(k) < sizes[row][:, None]
        there, values = rows[row][kept], found[row][kept]
        best = np.lexsort((there if order is None else order[there], values))[:k]
        positions[row], distances[row] = there[best], values[best]
    return Ranked(positions, distances)


def _sorted(
    query: Codes,
    weights: Weights,
    gallery: Codes,
    *,
    k: int,
    mask: npt.NDArray[np.bool_] | None,
    order: npt.NDArray[np.uint64] | None,
    threads: int | None,
) -> Ranked:
    kept = np.arange(len(gallery)) if mask is None else np.flatnonzero(mask)
    ranks = kept if order is None else order[kept]
    positions = np.empty((len(query), k), np.int64)
    distances = np.empty((len(query), k), np.uint32)
    for row in range(len(query)):
        one = slice(row, row + 1)
        found = asymmetric_distances(query[one], weights[one], gallery[kept], threads=threads)[0]
        best = np.lexsort((ranks, found))[:k]
        positions[row], distances[row] = kept[best], found[best]
    return Ranked(positions, distances)


def _checked(query: Codes, weights: Weights, gallery: Codes) -> tuple[Codes, Codes]:
    bits = weights.shape[1] if isinstance(weights, np.ndarray) and weights.ndim == 2 else 1
    check_weights(weights, queries=len(query), bits=bits)
    check_codes(query, bits=bits, name="query codes")
    if gallery.dtype != np.uint8 or gallery.shape[1:] != query.shape[1:]:
        check_codes(gallery, bits=bits, name="gallery codes")
    return np.ascontiguousarray(query), np.ascontiguousarray(gallery)


@kernel
def _table(query: npt.NDArray[np.uint8], weights: Weights) -> npt.NDArray[np.uint32]:
    """Return the distance that each value of each byte of a gallery code adds, (B, 256)."""
    table = np.empty((query.size, 256), np.uint32)
    sums = np.zeros(256, np.uint32)
    for place in range(query.size):
        for bit in range(8):  # the lowest first: of a byte of padding, it may be missing
            at = 8 * place + 7 - bit
            weight = np.uint32(weights[at]) if at < weights.size else np.uint32(0)
            for value in range(1 << bit):
                sums[(1 << bit) + value] = sums[value] + weight
        for value in range(256):
            table[place, value] = sums[value ^ query[place]]
    return table


@kernel
def _distances(
    table: npt.NDArray[np.uint32], gallery: npt.NDArray[np.uint8], result: npt.NDArray[np.uint32]
) -> None:
    for item in range(gallery.shape[0]):
        total = np.uint32(0)
        for place in range(gallery.shape[1]):
            total += table[place, gallery[item, place]]
        result[item] = total


@kernel
def _listed_distances(
    table: npt.NDArray[np.uint32],
    gallery: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    result: npt.NDArray[np.uint32],
) -> None:
    flat, width = gallery.reshape(gallery.size), gallery.shape[1]
    for item in range(min(_AHEAD, rows.size)):
        prefetch(flat, rows[item] * width)
    for item in range(rows.size):
        if item + _AHEAD < rows.size:
            prefetch(flat, rows[item + _AHEAD] * width)
        row, total = rows[item], np.uint32(0)
        for place in range(width):
            total += table[place, gallery[row, place]]
        result[item] = total


@kernel
def _after(
    distance: np.uint32, row: int, other: np.uint32, other_row: int, order: npt.NDArray[np.uint64]
) -> bool:
    """Whether a row comes after another one by (distance, order)."""
    if distance != other:
        return bool(distance > other)
    if order.size:
        return bool(order[row] > order[other_row])
    return row > other_row


@kernel
def _nearest(  # noqa: PLR0917 (compiled functions take no keywords)
    table: npt.NDArray[np.uint32],
    gallery: npt.NDArray[np.uint8],
    first: int,
    last: int,
    mask: npt.NDArray[np.bool_],
    order: npt.NDArray[np.uint64],
    found: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
) -> int:
    """Write the nearest rows from `first` to `last` in any order; return how many there are.

    They are a heap with the last of them on top.
    """
    size, k = 0, found.size
    for item in range(first, last):
        if mask.size and not mask[item]:
            continue
        total = np.uint32(0)
        for place in range(gallery.shape[1]):
            total += table[place, gallery[item, place]]
        if size < k:
            place = size
            size += 1
            while place:
                parent = (place - 1) // 2
                if not _after(total, item, found[parent], rows[parent], order):
                    break
                found[place], rows[place] = found[parent], rows[parent]
                place = parent
            found[place], rows[place] = total, item
        elif total <= found[0] and _after(found[0], rows[0], total, item, order):
            place = 0
            while True:
                child = 2 * place + 1
                if child >= size:
                    break
                if child + 1 < size and _after(
                    found[child + 1], rows[child + 1], found[child], rows[child], order
                ):
                    child += 1
                if not _after(found[child], rows[child], total, item, order):
                    break
                found[place], rows[place] = found[child], rows[child]
                place = child
            found[place], rows[place] = total, item
    return size
