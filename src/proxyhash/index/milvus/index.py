"""The `Index` in Milvus."""

from __future__ import annotations

from contextlib import suppress
from heapq import merge
from itertools import groupby, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from proxyhash.codes import check_bits
from proxyhash.errors import DataError, ProxyhashError, UsageError, check_option
from proxyhash.index.checks import check_items, check_modalities, check_search
from proxyhash.index.milvus.collection import Collection
from proxyhash.index.milvus.connection import Connection, is_address
from proxyhash.index.milvus.description import (
    Description,
    check_free,
    find_description,
    found_description,
)
from proxyhash.index.milvus.items import by_key, to_hits, to_item, to_rows
from proxyhash.index.milvus.keys import from_key, to_key
from proxyhash.index.milvus.nearest import Nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from proxyhash.codes import Codes
    from proxyhash.index.filters import Filter
    from proxyhash.index.hit import Hit, IndexItem
    from proxyhash.index.milvus.rows import Row

__all__ = ["CONSISTENCIES", "MilvusIndex"]

CONSISTENCIES = ("Strong", "Session", "Bounded", "Eventually")


class MilvusIndex:
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

    def __init__(
        self,
        connection: Connection,
        collection: str,
        description: Description,
        *,
        consistency: str,
        nprobe: int,
    ) -> None:
        self.bits = description.bits
        self.model = description.model
        self.modalities = description.modalities
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
        collection: str = "proxyhash",
        engine: str = "BIN_FLAT",
        nlist: int = 1024,
        nprobe: int = 16,
        shards: int = 1,
        consistency: str = "Strong",
        token: str | None = None,
        patience: float = 60.0,
    ) -> Self:
        """Make an empty index.

        Args:
            uri: see `Connection`.
            bits: the code length.
            model: fingerprint of the model that makes the codes, "" when unknown.
            modalities: what an item may have a code of.
            collection: what its collections' names begin with.
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
        collection: str = "proxyhash",
        model: str | None = None,
        bits: int | None = None,
        nprobe: int = 16,
        consistency: str = "Strong",
        token: str | None = None,
        patience: float = 60.0,
    ) -> Self:
        """Return an index that `create` made; for the arguments, see there.

        Args:
            uri: see `Connection`.
            collection: what its collections' names begin with.
            model: the fingerprint it must have; None for any.
            bits: the code length it must have; None for any.
            nprobe: how many clusters a search looks at.
            consistency: what reads see.
            token: see `Connection`.
            patience: see `Connection`.

        Raises:
            UsageError: there is no such index.
            DataError: its codes have another length or model, or it is not of this package.
        """
        check_option("consistency", consistency, CONSISTENCIES)
        if not is_address(uri) and not Path(uri).exists():
            raise UsageError(f"there is no file {uri}; make an index there first")
        connection = Connection(uri, token=token, patience=patience)
        try:
            description = found_description(connection, collection)
            description.check(bits=bits, model=model, place=f"{connection.shown}#{collection}")
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
        collection: str = "proxyhash",
        token: str | None = None,
        patience: float = 60.0,
    ) -> bool:
        """Whether there is an index to `open`; a server that does not answer is an error."""
        if not is_address(uri) and not Path(uri).exists():
            return False
        connection = Connection(uri, token=token, patience=patience)
        try:
            return find_description(connection, collection) is not None
        finally:
            connection.close()

    def add(
        self,
        ids: Sequence[str],
        codes: Codes | Mapping[str, Codes],
        *,
        payloads: Sequence[Mapping[str, object]] | None = None,
    ) -> None:
        """Store new items, all of them or none, as far as Milvus can; see `Index.add`.

        Everything is checked before the first message is sent. Should a later one fail, what was
        sent is deleted again; if that fails too, the error says so, and `upsert` is the way on.
        """
        keys, rows = self._rows(ids, codes, payloads)
        there = self._stored(keys)
        if there:
            first = next(key for key in keys if key in there)
            raise DataError(f"id {from_key(first)!r} is already in the index; ids must be unique")
        try:
            self._put(rows)
        except BaseException as error:
            self._take_back(keys, error)
            raise

    def upsert(
        self,
        ids: Sequence[str],
        codes: Codes | Mapping[str, Codes],
        *,
        payloads: Sequence[Mapping[str, object]] | None = None,
    ) -> None:
        """Store items in place of whatever was stored under their ids; see `Index.upsert`.

        Should it fail half-way, some items are new and some old; the same call again completes it.
        """
        keys, rows = self._rows(ids, codes, payloads)
        self._put(rows)
        for name in self.modalities:
            if name not in rows:
                self._collections[name].remove(keys)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove items and return how many there were of them; see `Index.delete`."""
        keys = [to_key(id_) for id_ in dict.fromkeys(ids)]
        there = list(self._stored(keys))
        for part in self._collections.values():
            part.remove(there)
        return len(there)

    def get(self, id: str, /) -> IndexItem:  # noqa: A002 -- the interface's word
        """Return what is stored under an id; see `Index.get`."""
        key = to_key(id)
        found = {name: part.rows([key]) for name, part in self._collections.items()}
        rows = [(name, rows[key]) for name, rows in found.items() if rows]
        if not rows:
            raise UsageError(f"no item {id!r} in the index")
        return to_item(rows)

    def get_many(self, ids: Sequence[str]) -> dict[str, IndexItem]:
        """Return what is stored under those of the ids that are there; see `Index.get_many`."""
        keys = [to_key(id_) for id_ in dict.fromkeys(ids)]
        found = {name: part.rows(keys) for name, part in self._collections.items()}
        rows = ([(name, of[key]) for name, of in found.items() if key in of] for key in keys)
        return {item.id: item for item in map(to_item, filter(None, rows))}

    def count(
        self,
        modality: str,
        *,
        filter: Filter | None = None,  # noqa: A002 -- the interface's word
    ) -> int | None:
        """Return how many items a search of a modality compares, None with a filter.

        What a filter lets through is decided on what Milvus sends back, and that is not everything.
        """
        check_option("modality", modality, self.modalities)
        return self._collections[modality].count() if filter is None else None

    def search(
        self,
        codes: Codes,
        *,
        k: int | None = None,
        modality: str | None = None,
        radius: int | None = None,
        filter: Filter | None = None,  # noqa: A002 -- the interface's word
    ) -> list[list[Hit]]:
        """Return the nearest items of each query, ordered by (distance, id); see `Index.search`.

        Ties are cut by id however many there are; a filter is sent along as far as Milvus
        understands it, and decided by `matches`.
        """
        modality = check_search(
            codes, k=k, modality=modality, radius=radius, bits=self.bits, modalities=self.modalities
        )
        part = self._collections[modality]
        found = Nearest(part, k=k, radius=radius, filter=filter).of(
            [code.tobytes() for code in codes]
        )
        return to_hits(found, part)

    def items(self, *, batch: int = 10_000) -> Iterator[list[IndexItem]]:
        """Return all items in batches, in the order of their ids; see `Index.items`.

        Pages are read one after the other: an item that is written meanwhile may be in or not.
        """
        if batch < 1:
            raise UsageError(f"batch is {batch}; it must be at least 1")
        return self._batches(batch)

    def info(self) -> dict[str, object]:
        """Return what the index is and holds, for people to read."""
        engine = self._collections[self.modalities[0]].engine()
        return {
            "kind": "milvus",
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
        """Let go of the connection; Milvus Lite stops with its last one."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Return the index."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the index."""
        self.close()

    def __contains__(self, id: object, /) -> bool:  # noqa: A002
        """Whether something is stored under this id."""
        return isinstance(id, str) and bool(self._stored([to_key(id)]))

    def __len__(self) -> int:
        """Return the number of items."""
        return sum(part.count("counted == true") for part in self._collections.values())

    def _rows(
        self,
        ids: Sequence[str],
        codes: Codes | Mapping[str, Codes],
        payloads: Sequence[Mapping[str, object]] | None,
    ) -> tuple[list[str], dict[str, list[Row]]]:
        items = check_items(ids, codes, payloads, bits=self.bits, modalities=self.modalities)
        return to_rows(*items, modalities=self.modalities)

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

    def _put(self, rows: Mapping[str, Iterable[Row]]) -> None:
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

    def _batches(self, size: int) -> Iterator[list[IndexItem]]:
        streams = [
            zip(repeat(name), part.all_rows(batch=size), strict=False)
            for name, part in self._collections.items()
        ]
        batch: list[IndexItem] = []
        for _, rows in groupby(merge(*streams, key=by_key), key=by_key):
            batch.append(to_item(list(rows)))
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch
