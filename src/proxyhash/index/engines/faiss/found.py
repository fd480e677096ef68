"""What another library found, before it is an answer: pairs of queries and rows in any order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from proxyhash.index.engines.base import Matches

if TYPE_CHECKING:
    import numpy.typing as npt

    from proxyhash.index.engines.arguments import SearchArguments

__all__ = ["Found"]


class Found(NamedTuple):
    """Rows and distances that were found for some queries, in any order."""

    queries: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    distances: npt.NDArray[Any]

    @classmethod
    def none(cls) -> Found:
        """Return what nothing found is."""
        nothing = np.empty(0, np.int64)
        return cls(nothing, nothing, nothing)

    @classmethod
    def join(cls, parts: list[Found]) -> Found:
        """Return all that was found, one part after the other."""
        return cls(*map(np.concatenate, zip(*parts, strict=True)))

    def wanted(self, given: SearchArguments) -> Found:
        """Return what is within the radius and allowed by the mask."""
        kept = self.distances <= given.radius
        if given.mask.size:
            kept &= given.mask[self.rows]
        return Found(*(part[kept] for part in self))

    def after(self, start: int) -> Found:
        """Return the same for queries counted from `start`."""
        return self._replace(queries=self.queries + start)

    def arranged(self, given: SearchArguments, order: npt.NDArray[np.uint64]) -> Matches:
        """Return the first k rows of each of q queries by (distance, order)."""
        count = len(given.query)
        ranks = order[self.rows] if order.size else self.rows
        by_place = np.lexsort((ranks, self.distances, self.queries))
        sizes = np.bincount(self.queries, minlength=count)
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]]) if count else sizes
        place = np.arange(len(by_place)) - np.repeat(first, sizes)
        kept = by_place[place < given.k]
        return Matches(
            offsets=np.concatenate([[0], np.cumsum(np.minimum(sizes, given.k))]).astype(np.int64),
            rows=self.rows[kept],
            distances=self.distances[kept].astype(np.uint16),
        )
