"""A backend of another package, in one file: a toy server that orders ties by chance.

Docs and CONTRIBUTING point here: all that a backend needs is a class derived from `Index`, under
`@register_index` (a package names its module under the entry-point group `proxyhash.indexes`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.errors import DataError, UsageError
from proxyhash.index import Hit, Index, IndexItem, register_index
from proxyhash.index.checks import check_codes_of
from proxyhash.index.server_ties import Candidate, search_nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proxyhash.codes import Codes
    from proxyhash.index.filters import Filter
    from proxyhash.index.server_ties import Request

SCHEME = "shuffled"


@dataclass
class Table:
    """What the server holds of one modality: codes and payloads by id."""

    rows: dict[str, tuple[bytes, dict[str, object]]] = field(default_factory=dict)
    dice: random.Random = field(default_factory=lambda: random.Random(0))
    max_limit: int = 16

    def nearest(self, queries: Sequence[bytes], request: Request) -> list[list[Candidate]]:
        """Any of the nearest rows, up to the limit; the filter is left to the client."""
        low, high = request.keys or ("", None)
        least, greatest = request.distances or (0, 1 << 20)
        answers = []
        for query in queries:
            found = [
                Candidate(id_, distance, payload)
                for id_, (code, payload) in self.rows.items()
                if low <= id_ and (high is None or id_ < high)
                if least <= (distance := _distance(query, code)) <= greatest
            ]
            self.dice.shuffle(found)
            answers.append(sorted(found, key=lambda row: row.distance)[: request.limit])
        return answers


@dataclass
class Server:
    bits: int
    model: str
    tables: dict[str, Table]


SERVERS: dict[str, Server] = {}


@register_index(SCHEME)
class ShuffledIndex(Index):
    """Items on a toy server of this process, by its URI."""

    kind = SCHEME
    capabilities = frozenset({"write", "drop"})

    def __init__(self, uri: str) -> None:
        server = SERVERS[uri]
        super().__init__(bits=server.bits, model=server.model, modalities=tuple(server.tables))
        self.uri = uri
        self._tables = server.tables

    @classmethod
    def create(
        cls, uri: str, *, bits: int, model: str = "", modalities: Sequence[str]
    ) -> ShuffledIndex:
        if cls.exists(uri):
            raise UsageError(f"there is an index at {uri} already; open it")
        SERVERS[uri] = Server(bits, model, {name: Table() for name in modalities})
        return cls(uri)

    @classmethod
    def open(
        cls, uri: str, *, write: bool = False, bits: int | None = None, model: str | None = None
    ) -> ShuffledIndex:
        if not cls.exists(uri):
            raise UsageError(f"there is no index at {uri}; create one first")
        index = cls(uri)
        check_codes_of(
            uri, bits=index.bits, model=index.model, wanted_bits=bits, wanted_model=model
        )
        return index

    @classmethod
    def exists(cls, uri: str) -> bool:
        return uri in SERVERS

    def info(self) -> dict[str, object]:
        counts = {name: len(table.rows) for name, table in self._tables.items()}
        return {
            "kind": self.kind,
            "bits": self.bits,
            "model": self.model,
            "items": len(self),
            "modalities": counts,
        }

    def drop(self) -> None:
        del SERVERS[self.uri]

    def close(self) -> None:
        """There is no connection."""

    def __len__(self) -> int:
        return len(self._ids())

    def _put(
        self,
        ids: list[str],
        codes: dict[str, Codes],
        payloads: list[dict[str, object]],
        *,
        new: bool,
    ) -> None:
        stored = self._ids()
        taken = [id_ for id_ in ids if id_ in stored]
        if new and taken:
            raise DataError(f"id {taken[0]!r} is already in the index; ids must be unique")
        self._delete(ids)
        for name, rows in codes.items():
            for id_, code, payload in zip(ids, rows, payloads, strict=True):
                self._tables[name].rows[id_] = (code.tobytes(), payload)

    def _delete(self, ids: list[str]) -> int:
        stored = self._ids()
        for table in self._tables.values():
            for id_ in ids:
                table.rows.pop(id_, None)
        return len(stored & set(ids))

    def _get_many(self, ids: list[str]) -> dict[str, IndexItem]:
        found = {}
        for id_ in ids:
            rows = {name: of.rows[id_] for name, of in self._tables.items() if id_ in of.rows}
            if rows:
                codes = {name: np.frombuffer(code, np.uint8) for name, (code, _) in rows.items()}
                found[id_] = IndexItem(id_, codes, next(iter(rows.values()))[1])
        return found

    def _count(self, modality: str, filter: Filter | None) -> int | None:  # noqa: A002
        return len(self._tables[modality].rows) if filter is None else None

    def _search(
        self,
        codes: Codes,
        *,
        k: int | None,
        modality: str,
        radius: int | None,
        filter: Filter | None,  # noqa: A002
    ) -> list[list[Hit]]:
        queries = [code.tobytes() for code in codes]
        found = search_nearest(self._tables[modality], queries, k=k, radius=radius, filter=filter)
        return [[Hit(row.key, row.distance, row.payload or {}) for row in rows] for rows in found]

    def _items(self, batch: int) -> Iterator[list[IndexItem]]:
        ids = sorted(self._ids())
        for start in range(0, len(ids), batch):
            yield list(self._get_many(ids[start : start + batch]).values())

    def _ids(self) -> set[str]:
        return set().union(*(table.rows for table in self._tables.values()))


def _distance(one: bytes, other: bytes) -> int:
    return sum((a ^ b).bit_count() for a, b in zip(one, other, strict=True))
