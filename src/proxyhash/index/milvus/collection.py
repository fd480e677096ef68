"""One Milvus collection: the codes of one modality, with the payloads beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxyhash.codes import code_bytes
from proxyhash.errors import check_option
from proxyhash.index.milvus.expressions import NOTHING, expression
from proxyhash.index.milvus.keys import MAX_KEY_BYTES, quoted
from proxyhash.index.milvus.rows import BATCH_ROWS, Row, batches
from proxyhash.index.server_ties import Candidate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from proxyhash.index.milvus.connection import Connection
    from proxyhash.index.milvus.description import Description
    from proxyhash.index.server_ties import Request

__all__ = ["INDEX_TYPES", "MAX_LIMIT", "Collection"]

INDEX_TYPES = ("BIN_FLAT", "BIN_IVF_FLAT")
MAX_LIMIT = 16_384
"""The most rows that Milvus returns for one query."""

_ALL = 'id >= ""'


class Collection:
    """A collection of Milvus, by name.

    Args:
        connection: where it is.
        name: its name there.
        consistency: how much of what was acknowledged a read must see.
        nprobe: how many clusters a search looks at, for BIN_IVF_FLAT.

    Attributes:
        max_limit: the most rows that a search returns for a query.
    """

    max_limit = MAX_LIMIT

    def __init__(self, connection: Connection, name: str, *, consistency: str, nprobe: int) -> None:
        self.name = name
        self._connection = connection
        self._read: dict[str, Any] = {"consistency_level": consistency}
        self._nprobe = nprobe

    def create(self, description: Description, *, engine: str, nlist: int, shards: int) -> None:
        """Create the collection and load it, ready to search."""
        check_option("engine", engine, INDEX_TYPES)
        types = self._connection.types
        schema = self._connection.new_schema(description=description.to_json())
        schema.add_field("id", types.VARCHAR, is_primary=True, max_length=MAX_KEY_BYTES)
        schema.add_field("code", types.BINARY_VECTOR, dim=8 * code_bytes(description.bits))
        schema.add_field("counted", types.BOOL)
        schema.add_field("payload", types.JSON)
        params = {"nlist": nlist} if engine == "BIN_IVF_FLAT" else {}
        index = self._connection.new_index(
            field_name="code", index_type=engine, metric_type="HAMMING", params=params
        )
        self._connection.call(
            "create_collection",
            self.name,
            schema=schema,
            index_params=index,
            num_shards=shards,
            consistency_level="Strong",
        )

    def load(self) -> None:
        """Make it ready to search."""
        self._connection.call("load_collection", self.name)

    def engine(self) -> str:
        """Return the kind of index on the codes."""
        return str(self._connection.call("describe_index", self.name, "code")["index_type"])

    def drop(self) -> None:
        """Remove it with everything in it."""
        self._connection.call("drop_collection", self.name)

    def count(self, expression: str = "") -> int:
        """Return how many rows there are that meet an expression."""
        # Milvus Lite 2.5 falls over when it counts a collection that never held a row.
        if self._connection.lite and not self._query(_ALL, ["id"], limit=1):
            return 0
        rows = self._query(expression, ["count(*)"])
        return int(rows[0]["count(*)"])

    def put(self, rows: Iterable[Row]) -> None:
        """Store rows in place of those under their keys; doing it twice changes nothing."""
        for batch in batches(rows):
            self._connection.call("upsert", self.name, batch)

    def remove(self, keys: Sequence[str]) -> None:
        """Remove the rows under these keys, where there are some."""
        for batch in _parts(keys):
            self._connection.call("delete", self.name, filter=_among(batch))

    def stored(self, keys: Sequence[str]) -> set[str]:
        """Return those of the keys that have a row."""
        return {row["id"] for batch in _parts(keys) for row in self._query(_among(batch), ["id"])}

    def rows(self, keys: Sequence[str]) -> dict[str, Row]:
        """Return the rows under those of the keys that have one."""
        fields = ["id", "code", "counted", "payload"]
        return {
            row["id"]: Row.read(row)
            for batch in _parts(keys)
            for row in self._query(_among(batch), fields)
        }

    def payloads(self, keys: Sequence[str]) -> dict[str, dict[str, object]]:
        """Return the payloads under those of the keys that have a row."""
        return {
            row["id"]: row["payload"]
            for batch in _parts(keys)
            for row in self._query(_among(batch), ["id", "payload"])
        }

    def all_rows(self, *, batch: int) -> Iterator[Row]:
        """Yield every row, in the order of the keys."""
        page = min(batch, MAX_LIMIT)
        condition = _ALL
        while True:
            found = self._query(
                condition, ["id", "code", "counted", "payload"], limit=page, iterator="True"
            )
            rows = sorted(map(Row.read, found), key=lambda row: row.key)
            yield from rows
            if len(rows) < page:
                return
            condition = f"id > {quoted(rows[-1].key)}"

    def nearest(self, queries: Sequence[bytes], request: Request) -> list[list[Candidate]]:
        """Return the nearest rows of each packed query; see `TiedServer.nearest`."""
        condition = request.filter
        terms = [] if condition is None else [expression(condition)]
        if request.keys is not None:
            low, high = request.keys
            terms.append(f"id >= {quoted(low)}")
            if high is not None:
                terms.append(f"id < {quoted(high)}")
        params: dict[str, int] = {"nprobe": self._nprobe}
        if request.distances is not None:
            least, greatest = request.distances
            # Milvus: range_filter <= distance < radius.
            params |= {"range_filter": least, "radius": greatest + 1}
        found = self._connection.call(
            "search",
            self.name,
            data=list(queries),
            anns_field="code",
            filter=" and ".join(filter(None, terms)),
            limit=request.limit,
            output_fields=["id"] if condition is None else ["payload"],
            search_params={"metric_type": "HAMMING", "params": params},
            **self._read,
        )
        return [
            [
                Candidate(hit["id"], int(hit["distance"]), hit["entity"].get("payload"))
                for hit in hits
            ]
            for hits in found
        ]

    def _query(self, expression: str, fields: list[str], **options: Any) -> Any:
        return self._connection.call(
            "query", self.name, filter=expression, output_fields=fields, **options, **self._read
        )


def _among(keys: Sequence[str]) -> str:
    return f"id in [{', '.join(map(quoted, keys))}]" if keys else NOTHING


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[start : start + BATCH_ROWS] for start in range(0, len(keys), BATCH_ROWS))
