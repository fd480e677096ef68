"""The `Index` in Milvus."""

from __future__ import annotations

from contextlib import suppress
from heapq import merge
from itertools import groupby, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyhash.codes import check_bits
from proxyhash.errors import DataError, ProxyhashError, UsageError, check_option
from proxyhash.index.base import Index
from proxyhash.index.checks import check_codes_of, check_modalities
from proxyhash.index.hit import Hit
from proxyhash.index.milvus.collection import Collection
from proxyhash.index.milvus.connection import Connection, is_address
from proxyhash.index.milvus.description import (
    Description,
    check_free,
    find_description,
    found_description,
)
from proxyhash.index.milvus.keys import from_key, to_key
from proxyhash.index.milvus.rows import by_key, to_item, to_rows
from proxyhash.index.open import register_index
from proxyhash.index.server_ties import search_nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Self

    from proxyhash.codes import Codes
    from proxyhash.index.filters import Filter
    from proxyhash.index.hit import IndexItem
    from proxyhash.index.milvus.rows import Row

__all__ = ["CONSISTENCIES", "MilvusIndex"]

CONSISTENCIES = ("Strong", "Session", "Bounded", "Eventually")


@register_index("http", "https", ".db")
class MilvusIndex(Index):
    """The `Index` whose items are in Milvus: a collection for each modality.

    A write is acknowledged once Milvus has it in its log. With consistency "Strong" every read
    sees all that was acknowledged before, from any process; "Session" sees this client's own
    writes, "Bounded" and "Eventually" may lag behind, and answer sooner.

    What Milvus does not promise: a write of many items goes in several messages, and that of an
    item with several modalities in one for each, so others may see a part of it, and a process
    that is killed leaves a part. Writing the same again with `upsert` completes it. A search
    whose ties do not fit into one answer asks again, and may see writes in between.

    Made by `create` and `open`; `Index` says what the methods do.
    """

    kind = "milvus"
    capabilities = frozenset({"write", "drop"})

    def __init__(
        self,
        connection: Connection,
        collection: str,
        description: Description,
        *,
        consistency: str,
        nprobe: int,
    ) -> None:
        super().__init__(
            bits=description.bits, model=description.model, modalities=description.modalities
        )
        self.consistency = consistency
        self.name = collection
        self._connection = connection
        self._collections = {
            modality: Collection(
                connection, f"{collection}_{modality}", consistency=consistency, nprobe=nprobe
            )
            for modality in self.modalities
        }

    @classmethod
    def create(
        cls,
        uri: str,
        *,
        bits: int,
        model: str = "",
        modalities: Sequence[str] = ("image", "text"),
        collection: str | None = None,
        engine: str = "BIN_FLAT",
        nlist: int = 1024,
        nprobe: int = 16,
        shards: int = 1,
        consistency: str = "Strong",
        token: str | None = None,
        patience: float = 60.0,
    ) -> Self:
        """Create an empty index.

        Args:
            uri: see `Connection`; may end with "#" and the collection's name.
            bits: the code length.
            model: fingerprint of the model that makes the codes, "" when unknown.
            modalities: what an item may have a code of.
            collection: what its collections' names begin with; default "proxyhash".
            engine: "BIN_FLAT" compares every code and is exact; "BIN_IVF_FLAT" looks at the
                `nprobe` nearest of `nlist` clusters and may miss items. Milvus Lite has the first.
            nlist: how many clusters.
            nprobe: how many of them a search looks at.
            shards: how many channels writes are spread over; for clusters.
            consistency: what reads see, one of `CONSISTENCIES`.
            token: see `Connection`.
            patience: see `Connection`.

        Raises:
            UsageError: there is such an index already, or an option is out of range.
        """
        uri, collection = _split(uri, collection)
        description = Description(check_bits(bits), model, check_modalities(modalities))
        check_option("consistency", consistency, CONSISTENCIES)
        connection = Connection(uri, token=token, patience=patience)
        index = cls(connection, collection, description, consistency=consistency, nprobe=nprobe)
        try:
            check_free(connection, collection)
            index._make(description, engine=engine, nlist=nlist, shards=shards)
        except BaseException:
            connection.close()
            raise
        return index

    @classmethod
    def open(
        cls,
        uri: str,
        *,
        write: bool = True,
        bits: int | None = None,
        model: str | None = None,
        collection: str | None = None,
        nprobe: int = 16,
        consistency: str = "Strong",
        token: str | None = None,
        patience: float = 60.0,
    ) -> Self:
        """Return an index that `create` made; for the arguments, see there.

        Args:
            uri: see `Connection`; may end with "#" and the collection's name.
            write: ignored, an index in Milvus can always be changed.
            bits: the code length it must have; None for any.
            model: the fingerprint it must have; None for any.
            collection: what its collections' names begin with; default "proxyhash".
            nprobe: how many clusters a search looks at.
            consistency: what reads see.
            token: see `Connection`.
            patience: see `Connection`.

        Raises:
            UsageError: there is no such index.
            DataError: its codes have another length or model, or it is not of this package.
        """
        del write
        uri, collection = _split(uri, collection)
        check_option("consistency", consistency, CONSISTENCIES)
        if not is_address(uri) and not Path(uri).exists():
            raise UsageError(f"there is no file {uri}; create an index there first")
        connection = Connection(uri, token=token, patience=patience)
        try:
            description = found_description(connection, collection)
            check_codes_of(
                f"{connection.shown}#{collection}",
                bits=description.bits,
                model=description.model,
                wanted_bits=bits,
                wanted_model=model,
            )
            index = cls(connection, collection, description, consistency=consistency, nprobe=nprobe)
            for part in index._collections.values():
                part.load()
        except BaseException:
            connection.close()
            raise
        return index

    @classmethod
    def exists(
        cls,
        uri: str,
        *,
        collection: str | None = None,
        token: str | None = None,
        patience: float = 60.0,
    ) -> bool:
        """Whether there is an index to `open`; a server that does not answer is an error."""
        uri, collection = _split(uri, collection)
        if not is_address(uri) and not Path(uri).exists():
            return False
        connection = Connection(uri, token=token, patience=patience)
        try:
            return find_description(connection, collection) is not None
        finally:
            connection.close()

    def info(self) -> dict[str, object]:
        """Return kind, counts and settings, for people to read."""
        engine = self._collections[self.modalities[0]].engine()
        return {
            "kind": self.kind,
            "uri": self._connection.shown,
            "collection": self.name,
            "bits": self.bits,
            "model": self.model,
            "items": len(self),
            "modalities": {name: part.count() for name, part in self._collections.items()},
            "engine": engine,
            "exact": engine == "BIN_FLAT",
            "consistency": self.consistency,
        }

    def drop(self) -> None:
        """Remove the index with everything in it, and close it."""
        for part in self._collections.values():
            part.drop()
        self.close()

    def close(self) -> None:
        """Close the connection; Milvus Lite stops with its last one."""
        self._connection.close()

    def __len__(self) -> int:
        """Return the number of items."""
        return sum(part.count("counted == true") for part in self._collections.values())

    def _put(
        self,
        ids: list[str],
        codes: dict[str, Codes],
        payloads: list[dict[str, object]],
        *,
        new: bool,
    ) -> None:
        # Everything is checked before the first message is sent. Should a later one of `add` fail,
        # what was sent is deleted again; if that fails too, the error says so, and `upsert` is the
        # way on. Should `upsert` fail half-way, the same call again completes it.
        keys, rows = to_rows(ids, codes, payloads, modalities=self.modalities)
        if not new:
            self._send(rows)
            for name in self.modalities:
                if name not in rows:
                    self._collections[name].remove(keys)
            return
        there = self._stored(keys)
        if there:
            first = next(key for key in keys if key in there)
            raise DataError(f"id {from_key(first)!r} is already in the index; ids must be unique")
        try:
            self._send(rows)
        except BaseException as error:
            self._take_back(keys, error)
            raise

    def _delete(self, ids: list[str]) -> int:
        there = list(self._stored([to_key(id_) for id_ in ids]))
        for part in self._collections.values():
            part.remove(there)
        return len(there)

    def _get_many(self, ids: list[str]) -> dict[str, IndexItem]:
        keys = [to_key(id_) for id_ in ids]
        found = {name: part.rows(keys) for name, part in self._collections.items()}
        rows = ([(name, of[key]) for name, of in found.items() if key in of] for key in keys)
        return {item.id: item for item in map(to_item, filter(None, rows))}

    def _contains(self, id_: str) -> bool:
        return bool(self._stored([to_key(id_)]))

    def _count(self, modality: str, filter: Filter | None) -> int | None:  # noqa: A002
        # What a filter lets through is decided on what Milvus sends back, which is not everything.
        return self._collections[modality].count() if filter is None else None

    def _search(
        self,
        codes: Codes,
        *,
        k: int | None,
        modality: str,
        radius: int | None,
        filter: Filter | None,  # noqa: A002
    ) -> list[list[Hit]]:
        part = self._collections[modality]
        queries = [code.tobytes() for code in codes]
        found = search_nearest(part, queries, k=k, radius=radius, filter=filter)
        # Without a filter no payload came along; an item deleted since it was found is left out.
        bare = {row.key for rows in found for row in rows if row.payload is None}
        payloads = part.payloads(list(bare))
        return [
            [
                Hit(from_key(row.key), row.distance, dict(payload))
                for row in rows
                if (payload := payloads.get(row.key, row.payload)) is not None
            ]
            for rows in found
        ]

    def _make(self, description: Description, **options: Any) -> None:
        begun: list[Collection] = []
        try:
            for part in self._collections.values():
                begun.append(part)
                part.create(description, **options)
        except BaseException:
            for part in begun:
                with suppress(ProxyhashError):
                    part.drop()
            raise

    def _send(self, rows: Mapping[str, Iterable[Row]]) -> None:
        for name, of_modality in rows.items():
            self._collections[name].put(of_modality)

    def _take_back(self, keys: Sequence[str], error: BaseException) -> None:
        try:
            for part in self._collections.values():
                part.remove(keys)
        except ProxyhashError:
            error.add_note("some of the items may be stored; upsert them to complete the write")

    def _stored(self, keys: Sequence[str]) -> set[str]:
        return set().union(*(part.stored(keys) for part in self._collections.values()))

    def _items(self, batch: int) -> Iterator[list[IndexItem]]:
        # Pages are read one after the other: an item that is written meanwhile may be in or not.
        streams = [
            zip(repeat(name), part.all_rows(batch=batch), strict=False)
            for name, part in self._collections.items()
        ]
        items: list[IndexItem] = []
        for _, rows in groupby(merge(*streams, key=by_key), key=by_key):
            items.append(to_item(list(rows)))
            if len(items) == batch:
                yield items
                items = []
        if items:
            yield items


def _split(uri: str, collection: str | None) -> tuple[str, str]:
    """Return the place and the collection's name that a URI and an option give together."""
    place, _, named = uri.partition("#")
    return place.rstrip("/"), collection or named or "proxyhash"
