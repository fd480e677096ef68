"""Compiled loops of the evaluation: one pass over the gallery, in tiles, for a few queries.

Codes are words, one row per item. The label sets of the gallery have one row per word, so that the
inner loop runs along the gallery.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from proxyhash.codes.hamming import row_distances
from proxyhash.codes.kernels import kernel, popcount

__all__ = ["count_pairs", "expected_precisions", "sum_stable_precisions"]

_TILE = 8192  # gallery items; their codes and labels fit the cache of a core


@kernel
def _shared_labels(
    query: npt.NDArray[np.uint64],
    gallery: npt.NDArray[np.uint64],
    start: int,
    result: npt.NDArray[np.uint16],
) -> None:
    """Write the number of labels that a set (W,) shares with the sets (W, n) from `start`."""
    result[:] = 0
    for place in range(query.shape[0]):
        word = query[place]
        if word:
            words = gallery[place, start : start + len(result)]
            for item in range(len(words)):
                result[item] += popcount(words[item] & word)


@kernel
def count_pairs(
    query: npt.NDArray[Any],
    gallery: npt.NDArray[Any],
    query_sets: npt.NDArray[np.uint64],
    gallery_sets: npt.NDArray[np.uint64],
    counts: npt.NDArray[np.uint32],
) -> None:
    """Add the gallery to uint32 (q, K+1, G+1): items by distance and shared labels, at most G."""
    count, most = gallery.shape[0], counts.shape[2] - 1
    distances, shared = np.empty(_TILE, np.uint16), np.empty(_TILE, np.uint16)
    for start in range(0, count, _TILE):
        stop = min(start + _TILE, count)
        for row in range(query.shape[0]):
            row_distances(query[row], gallery[start:stop], distances)
            _shared_labels(query_sets[row], gallery_sets, start, shared[: stop - start])
            for item in range(stop - start):
                counts[row, distances[item], min(shared[item], most)] += 1


@kernel
def sum_stable_precisions(  # noqa: PLR0917 (compiled functions take no keywords)
    query: npt.NDArray[Any],
    gallery: npt.NDArray[Any],
    query_sets: npt.NDArray[np.uint64],
    gallery_sets: npt.NDArray[np.uint64],
    places: npt.NDArray[np.int64],
    hits: npt.NDArray[np.int64],
    cutoff: int,
    sums: npt.NDArray[np.float64],
) -> None:
    """Add to float64 (q, 2) the precisions at the relevant items among the first, and their number.

    `places` and `hits`, int64 (q, K+1), are the numbers of items and of relevant items below each
    distance; they are overwritten. Items at equal distance are in gallery order.
    """
    count = gallery.shape[0]
    distances, shared = np.empty(_TILE, np.uint16), np.empty(_TILE, np.uint16)
    for start in range(0, count, _TILE):
        stop = min(start + _TILE, count)
        for row in range(query.shape[0]):
            row_distances(query[row], gallery[start:stop], distances)
            _shared_labels(query_sets[row], gallery_sets, start, shared[: stop - start])
            for item in range(stop - start):
                distance = distances[item]
                places[row, distance] += 1
                if shared[item]:
                    hits[row, distance] += 1
                    if places[row, distance] <= cutoff:
                        sums[row, 0] += hits[row, distance] / places[row, distance]
                        sums[row, 1] += 1


@kernel
def expected_precisions(
    order: npt.NDArray[np.int64],
    distances: npt.NDArray[Any],
    relevant: npt.NDArray[np.bool_],
    kept: npt.NDArray[np.bool_],
    result: npt.NDArray[np.float64],
) -> None:
    """Write the average precision of each query, expected over ties; NaN with nothing relevant.

    Items that are not kept are left out. A group of n items at equal distance, r of them relevant,
    behind c items with R relevant ones, adds the sum over j = 1..n of
    r/n (R + 1 + (j-1) (r-1)/(n-1)) / (c + j); see `average_precision`.

    Args:
        order: the items of each query by distance, in any order within ties, (q, n).
        distances: of the items, (q, n).
        relevant: whether an item is, bool (q, n).
        kept: whether an item is ranked, bool (n,).
        result: float64 (q,).
    """
    for row in range(order.shape[0]):
        total, before, hits, place = 0.0, 0, 0, 0
        while place < order.shape[1]:
            distance = distances[row, order[row, place]]
            items, good = 0, 0
            while place < order.shape[1] and distances[row, order[row, place]] == distance:
                item = order[row, place]
                place += 1
                if kept[item]:
                    items += 1
                    good += relevant[row, item]
            if good:
                step = (good - 1) / (items - 1) if items > 1 else 0.0
                for each in range(items):
                    total += good / items * (hits + 1 + each * step) / (before + each + 1)
            before += items
            hits += good
        result[row] = total / hits if hits else np.nan
