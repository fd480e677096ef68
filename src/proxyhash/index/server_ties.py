"""Exact nearest items in the order (distance, id), from a server that orders ties by chance.

A server gives the nearest rows up to a limit, of which the farthest may be only some of those at
their distance. So what lies nearer than the farthest row is complete, and the rows at its very
distance are asked for separately; where they are more than the limit, by ranges of keys, halved
until each range fits. The order is therefore exact for any number of ties.

For a backend: implement `TiedServer` over the server's search, and call `search_nearest` from
`Index._search`. `proxyhash.index.milvus` does so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from proxyhash.index.filters import matches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxyhash.index.filters import Filter

__all__ = ["Candidate", "Request", "TiedServer", "search_nearest"]

_ROWS_PER_CALL = 200_000
_QUERIES_PER_CALL = 1_000
_GROWTH = 4


@dataclass(frozen=True, slots=True)
class Candidate:
    """One row that a server found.

    Attributes:
        key: what the server stores it under; keys compare as the ids of their items do.
        distance: Hamming distance to the query, in bits.
        payload: its payload; may be None where there is no filter.
    """

    key: str
    distance: int
    payload: Mapping[str, object] | None = None


class Request(NamedTuple):
    """Request to a server, apart from the queries.

    Attributes:
        limit: at most this many rows per query, at least 1.
        distances: the least and the greatest distance, both included; None for any.
        keys: the least key, and the one that all keys come before (None: there is none); None for
            any key.
        filter: rows whose payload does not match need not be returned; those that are returned
            carry their payload. None for all rows.
    """

    limit: int
    distances: tuple[int, int] | None = None
    keys: tuple[str, str | None] | None = None
    filter: Filter | None = None


class TiedServer(Protocol):
    """A search that is exact in the distances, while ties at the limit are cut by chance.

    Attributes:
        max_limit: the most rows it gives back for a query, at least 2.
    """

    @property
    def max_limit(self) -> int: ...  # noqa: D102

    def nearest(self, queries: Sequence[bytes], request: Request) -> list[list[Candidate]]:
        """Return the nearest rows of each packed query that meet the request, in any order.

        Fewer than `request.limit` of them are all there are. A filter may be met in part, such as
        by sending on only those of its conditions that the server understands exactly.
        """
        ...


def search_nearest(
    server: TiedServer,
    queries: Sequence[bytes],
    *,
    k: int | None,
    radius: int | None = None,
    filter: Filter | None = None,  # noqa: A002 -- the interface's word
    max_limit: int | None = None,
) -> list[list[Candidate]]:
    """Return the nearest rows of each query, ordered by (distance, key).

    Args:
        server: what is searched.
        queries: packed codes.
        k: at most this many rows per query; None for all within the radius.
        radius: the greatest distance; None for any.
        filter: only rows whose payload matches.
        max_limit: ask for no more rows at once; default as many as the server gives.
    """
    if not queries:
        return []
    bits = 8 * len(queries[0])  # no distance is greater
    farthest = bits if radius is None else min(radius, bits)
    search = _Search(server, k, farthest, filter, max_limit or server.max_limit)
    # Room for the ties at the cut, so that most queries need one call.
    limit = search.max_limit if k is None else min(search.max_limit, 2 * k + 64)
    block = max(1, min(_QUERIES_PER_CALL, _ROWS_PER_CALL // limit))
    found = []
    for start in range(0, len(queries), block):
        some = queries[start : start + block]
        for query, rows in zip(some, search.ask(some, limit), strict=True):
            found.append(search.complete(query, rows, limit))
    return found


@dataclass(frozen=True)
class _Search:
    server: TiedServer
    k: int | None
    farthest: int
    filter: Filter | None
    max_limit: int

    def complete(self, query: bytes, rows: list[Candidate], limit: int) -> list[Candidate]:
        """Return the answer to a query whose nearest rows, up to the limit, are known."""
        found: list[Candidate] = []
        while True:
            if len(rows) < limit:
                return self._cut(found + self._kept(rows))
            edge = max(row.distance for row in rows)
            found += self._kept([row for row in rows if row.distance < edge])
            if self._missing(found) == 0:
                return self._cut(found)
            found += self._ties(query, edge, self._missing(found))
            if self._missing(found) == 0 or edge >= self.farthest:
                return self._cut(found)
            limit = min(self.max_limit, _GROWTH * limit)
            (rows,) = self.ask([query], limit, nearest=edge + 1)

    def ask(
        self,
        queries: Sequence[bytes],
        limit: int,
        *,
        nearest: int = 0,
        farthest: int | None = None,
        keys: tuple[str, str | None] | None = None,
    ) -> list[list[Candidate]]:
        farthest = self.farthest if farthest is None else farthest
        all_of_them = nearest == 0 and farthest == 8 * len(queries[0])
        distances = None if all_of_them else (nearest, farthest)
        return self.server.nearest(queries, Request(limit, distances, keys, self.filter))

    def _ties(
        self,
        query: bytes,
        distance: int,
        wanted: int | None,
        low: str = "",
        high: str | None = None,
    ) -> list[Candidate]:
        """Return the rows at a distance with low <= key < high; all, or at least `wanted`."""
        (rows,) = self.ask(
            [query], self.max_limit, nearest=distance, farthest=distance, keys=(low, high)
        )
        if len(rows) < self.max_limit:
            return self._kept(rows)
        middle = sorted(row.key for row in rows)[len(rows) // 2]
        found = self._ties(query, distance, wanted, low, middle)
        missing = None if wanted is None else max(0, wanted - len(found))
        if missing != 0:
            found += self._ties(query, distance, missing, middle, high)
        return found

    def _kept(self, rows: list[Candidate]) -> list[Candidate]:
        if self.filter is not None:
            rows = [row for row in rows if matches(self.filter, row.payload or {})]
        return sorted(rows, key=lambda row: (row.distance, row.key))

    def _missing(self, found: list[Candidate]) -> int | None:
        return None if self.k is None else max(0, self.k - len(found))

    def _cut(self, found: list[Candidate]) -> list[Candidate]:
        return found if self.k is None else found[: self.k]
