"""The nearest rows in the order (distance, key), out of a search that orders ties as it likes.

Milvus gives the nearest rows up to a limit, of which the farthest may be only some of those at
their distance. So what lies nearer than the farthest answer is complete, and the rows at its very
distance are asked for by themselves; where they are more than the limit, by ranges of keys, halved
until each range fits. The order is therefore exact for any number of ties.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyhash.index.filters import matches
from proxyhash.index.milvus.collection import MAX_LIMIT
from proxyhash.index.milvus.expressions import expression
from proxyhash.index.milvus.keys import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxyhash.index.filters import Filter
    from proxyhash.index.milvus.collection import Collection
    from proxyhash.index.milvus.rows import Found

__all__ = ["Nearest"]

_ROWS_A_CALL = 200_000
_QUERIES_A_CALL = 1_000
_GROWTH = 4
_ANY = 1 << 20


class Nearest:
    """A search of one collection.

    Args:
        collection: where to search.
        k: at most this many rows a query; None for all within the radius.
        radius: the greatest distance; None for any.
        filter: only rows whose payload matches.
        limit: the most rows Milvus gives back for a query.
    """

    def __init__(
        self,
        collection: Collection,
        *,
        k: int | None,
        radius: int | None,
        filter: Filter | None,  # noqa: A002 -- the interface's word
        limit: int = MAX_LIMIT,
    ) -> None:
        self._collection = collection
        self._k = k
        self._radius = _ANY if radius is None else radius
        self._filter = filter
        self._expression = "" if filter is None else expression(filter)
        self._limit = limit

    def of(self, queries: Sequence[bytes]) -> list[list[Found]]:
        """Return the rows of each query; payloads are None where there is no filter."""
        # Room for the ties at the cut, so that most queries need one call.
        limit = self._limit if self._k is None else min(self._limit, 2 * self._k + 64)
        block = max(1, min(_QUERIES_A_CALL, _ROWS_A_CALL // limit))
        found = []
        for start in range(0, len(queries), block):
            part = queries[start : start + block]
            for query, rows in zip(part, self._ask(part, limit, (0, self._radius)), strict=True):
                found.append(self._complete(query, rows, limit))
        return found

    def _complete(self, query: bytes, rows: list[Found], limit: int) -> list[Found]:
        found: list[Found] = []
        while True:
            if len(rows) < limit:
                return self._cut(found + self._kept(rows))
            edge = rows[-1].distance
            found += self._kept([row for row in rows if row.distance < edge])
            if self._missing(found) == 0:
                return self._cut(found)
            found += self._ties(query, edge, self._missing(found))
            if self._missing(found) == 0 or edge == self._radius:
                return self._cut(found)
            limit = min(self._limit, _GROWTH * limit)
            (rows,) = self._ask([query], limit, (edge + 1, self._radius))

    def _ties(
        self,
        query: bytes,
        distance: int,
        wanted: int | None,
        low: str = "",
        high: str | None = None,
    ) -> list[Found]:
        """Return the rows at a distance with low <= key < high; all, or at least `wanted`."""
        between = f"id >= {quoted(low)}" + ("" if high is None else f" and id < {quoted(high)}")
        (rows,) = self._ask([query], self._limit, (distance, distance), between)
        if len(rows) < self._limit:
            return self._kept(rows)
        middle = sorted(row.key for row in rows)[len(rows) // 2]
        found = self._ties(query, distance, wanted, low, middle)
        missing = None if wanted is None else max(0, wanted - len(found))
        if missing != 0:
            found += self._ties(query, distance, missing, middle, high)
        return found

    def _ask(
        self, queries: Sequence[bytes], limit: int, band: tuple[int, int], also: str = ""
    ) -> list[list[Found]]:
        return self._collection.nearest(
            queries,
            limit=limit,
            band=None if band == (0, _ANY) else band,
            expression=" and ".join(filter(None, (self._expression, also))),
            payload=self._filter is not None,
        )

    def _kept(self, rows: list[Found]) -> list[Found]:
        if self._filter is not None:
            rows = [row for row in rows if matches(self._filter, row.payload or {})]
        return sorted(rows, key=lambda row: (row.distance, row.key))

    def _missing(self, found: list[Found]) -> int | None:
        return None if self._k is None else max(0, self._k - len(found))

    def _cut(self, found: list[Found]) -> list[Found]:
        return found if self._k is None else found[: self._k]
