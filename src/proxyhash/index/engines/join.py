"""Putting answers together that were found apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxyhash.index.engines.base import Matches

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = ["join_queries"]


def join_queries(parts: Sequence[tuple[npt.NDArray[np.int64], Matches]]) -> Matches:
    """Return one answer to q queries from the answers to some of them each.

    Args:
        parts: which queries, int64, and their answers; every query of `range(q)` once.
    """
    sizes = np.empty(sum(len(which) for which, _ in parts), np.int64)
    for which, found in parts:
        sizes[which] = np.diff(found.offsets)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    rows = np.empty(offsets[-1], np.int64)
    distances = np.empty(offsets[-1], np.uint16)
    for which, found in parts:
        shift = np.repeat(offsets[which] - found.offsets[:-1], np.diff(found.offsets))
        places = shift + np.arange(len(found.rows))
        rows[places], distances[places] = found.rows, found.distances
    return Matches(offsets, rows, distances)
