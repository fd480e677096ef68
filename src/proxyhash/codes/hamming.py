"""Hamming distances and the exact nearest neighbors, by counting instead of sorting.

Codes of K bits have only K+1 distances. So the k nearest of n items are found in O(n): count the
items at each distance, find the distance at which the count reaches k, then write every nearer
item to its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from proxyhash.codes.bits import MAX_BITS, Codes
from proxyhash.codes.kernels import as_words, kernel, popcount, run_blocks
from proxyhash.errors import DataError, UsageError

__all__ = ["TopK", "distances", "paired_distances", "row_distances", "top_k"]


@dataclass(frozen=True)
class TopK:
    """The nearest gallery items of each query, ordered by (distance, position).

    Attributes:
        positions: int64 (q, m), rows of the gallery.
        distances: uint16 (q, m), their Hamming distances, in bits.
    """

    positions: npt.NDArray[np.int64]
    distances: npt.NDArray[np.uint16]


def distances(
    query: Codes, gallery: Codes, *, threads: int | None = None
) -> npt.NDArray[np.uint16]:
    """Return all Hamming distances, uint16 (q, n).

    Args:
        query: packed codes (q, B).
        gallery: packed codes (n, B).
        threads: how many threads to use; default all cores.

    Raises:
        DataError: the codes are not `uint8` matrices of one width.
    """
    query_words, gallery_words = _word_pair(query, gallery)
    result = np.empty((len(query), len(gallery)), np.uint16)

    def work(start: int, stop: int) -> None:
        for row in range(start, stop):
            row_distances(query_words[row], gallery_words, result[row])

    run_blocks(work, len(query), threads=threads)
    return result


def paired_distances(
    query: Codes, gallery: Codes, owners: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint16]:
    """Return the Hamming distance of each gallery code to one query, uint16 (n,).

    Args:
        query: packed codes (q, B).
        gallery: packed codes (n, B).
        owners: int64 (n,), the query of each code, ascending.
    """
    query_words, gallery_words = _word_pair(query, gallery)
    result = np.empty(len(gallery), np.uint16)
    edges = np.searchsorted(owners, np.arange(len(query) + 1))
    for row in range(len(query)):
        part = slice(edges[row], edges[row + 1])
        row_distances(query_words[row], gallery_words[part], result[part])
    return result


def top_k(
    query: Codes,
    gallery: Codes,
    *,
    k: int,
    mask: npt.NDArray[np.bool_] | None = None,
    threads: int | None = None,
) -> TopK:
    """Return the nearest min(k, n) gallery items of each query, ordered by (distance, position).

    Needs two bytes per gallery item and thread besides the result.

    Args:
        query: packed codes (q, B).
        gallery: packed codes (n, B).
        k: how many to return, at least 1.
        mask: bool (n,); items where it is False are never returned, and n counts the others.
        threads: how many threads to use; default all cores.

    Raises:
        UsageError: "k is 0; it must be at least 1".
        DataError: the codes are not `uint8` matrices of one width, or the mask does not fit.
    """
    if k < 1:
        raise UsageError(f"k is {k}; it must be at least 1")
    query_words, gallery_words = _word_pair(query, gallery)
    allowed = len(gallery)
    if mask is None:
        mask = np.empty(0, np.bool_)
    else:
        mask = np.ascontiguousarray(mask)
        if mask.dtype != np.bool_ or mask.shape != (len(gallery),):
            raise DataError(
                f"the mask must be bool of shape ({len(gallery)},), "
                f"found {mask.dtype} of shape {mask.shape}"
            )
        allowed = int(mask.sum())
    k = min(k, allowed)
    positions = np.empty((len(query), k), np.int64)
    found = np.empty((len(query), k), np.uint16)

    def work(start: int, stop: int) -> None:
        rows = slice(start, stop)
        _top_k_rows(query_words[rows], gallery_words, mask, positions[rows], found[rows])

    if k:
        run_blocks(work, len(query), threads=threads)
    return TopK(positions=positions, distances=found)


def _word_pair(query: Codes, gallery: Codes) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    for name, codes in (("query", query), ("gallery", gallery)):
        if codes.dtype != np.uint8 or codes.ndim != 2:
            raise DataError(
                f"{name} codes must be packed uint8 of shape (n, bytes), "
                f"found {codes.dtype} of shape {codes.shape}"
            )
    if query.shape[1] != gallery.shape[1]:
        raise DataError(
            f"query codes are {query.shape[1]} bytes wide and gallery codes {gallery.shape[1]}; "
            "codes of one model have one width"
        )
    if not 1 <= query.shape[1] <= MAX_BITS // 8:
        raise DataError(f"codes are {query.shape[1]} bytes wide; they have 1 to {MAX_BITS // 8}")
    return as_words(query), as_words(gallery)


@kernel
def row_distances(
    query: npt.NDArray[Any], gallery: npt.NDArray[Any], result: npt.NDArray[np.uint16]
) -> None:
    """Write the distances of one query (W,) to a gallery (n, W), both words, into uint16 (n,)."""
    count, width = gallery.shape
    if width == 1:
        word = query[0]
        for item in range(count):
            result[item] = popcount(gallery[item, 0] ^ word)
    elif width == 2:
        low, high = query[0], query[1]
        for item in range(count):
            result[item] = popcount(gallery[item, 0] ^ low) + popcount(gallery[item, 1] ^ high)
    else:
        for item in range(count):
            total = np.uint16(0)
            for place in range(width):
                total += np.uint16(popcount(gallery[item, place] ^ query[place]))
            result[item] = total


@kernel
def _top_k_rows(
    query: npt.NDArray[Any],
    gallery: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_],
    positions: npt.NDArray[np.int64],
    found: npt.NDArray[np.uint16],
) -> None:
    count, k = gallery.shape[0], positions.shape[1]
    farthest = 8 * gallery.shape[1] * gallery.itemsize
    masked = farthest + 1  # one bucket more, for items that must not be returned
    scratch = np.empty(count, np.uint16)
    places = np.empty(farthest + 2, np.int64)
    for row in range(query.shape[0]):
        row_distances(query[row], gallery, scratch)
        if mask.size:
            for item in range(count):
                if not mask[item]:
                    scratch[item] = masked
        places[:] = 0
        for item in range(count):
            places[scratch[item]] += 1
        # From counts to the first place of each distance; `limit` is the last one that fits.
        total, limit = 0, 0
        for distance in range(farthest + 1):
            size = places[distance]
            places[distance] = total
            total += size
            if size:
                limit = distance
            if total >= k:
                break
        for item in range(count):
            distance = scratch[item]
            if distance <= limit:
                place = places[distance]
                if place < k:
                    positions[row, place] = item
                    found[row, place] = distance
                    places[distance] = place + 1
