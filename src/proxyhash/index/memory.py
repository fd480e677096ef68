"""An index in memory, over any engine."""

from __future__ import annotations

from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING

from proxyhash.codes import check_bits
from proxyhash.errors import DataError, UsageError, check_option
from proxyhash.index.checks import check_items, check_modalities, check_search
from proxyhash.index.engines.registry import get_engine
from proxyhash.index.hit import Hit
from proxyhash.index.memory_state import MemoryState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from proxyhash.codes import Codes
    from proxyhash.index.filters import Filter
    from proxyhash.index.hit import IndexItem

__all__ = ["MemoryIndex"]


class MemoryIndex:
    """The `Index` that holds everything in memory.

    Every change makes a new state beside the old one and then takes its place, so searches in
    other threads meet all of a change or none of it. That, and building the engine again at the
    next search, costs time in the number of items: change many items a call. An index that grows
    for good is a `Store`.

    Args:
        bits: the code length.
        model: fingerprint of the model that made the codes, "" when unknown.
        modalities: what an item may have a code of.
        engine: the engine that searches, by name.

    Example:
        >>> import numpy as np
        >>> index = MemoryIndex(bits=8)
        >>> index.add(["b", "a"], np.array([[0b11], [0b00]], np.uint8))
        >>> index.search(np.array([[0b01]], np.uint8), k=5)[0]
        [Hit(id='a', distance=1, payload={}), Hit(id='b', distance=1, payload={})]
    """

    def __init__(
        self,
        *,
        bits: int,
        model: str = "",
        modalities: Sequence[str] = ("code",),
        engine: str = "scan",
    ) -> None:
        self.bits = check_bits(bits)
        self.model = model
        self.modalities = check_modalities(modalities)
        self.engine = get_engine(engine).name
        self._writing = Lock()
        self._state = MemoryState.empty(self.modalities, bits=self.bits, engine=engine)

    def add(
        self,
        ids: Sequence[str],
        codes: Codes | Mapping[str, Codes],
        *,
        payloads: Sequence[Mapping[str, object]] | None = None,
    ) -> None:
        """Store new items, all of them or none; see `Index.add`."""
        self._put(ids, codes, payloads, new=True)

    def upsert(
        self,
        ids: Sequence[str],
        codes: Codes | Mapping[str, Codes],
        *,
        payloads: Sequence[Mapping[str, object]] | None = None,
    ) -> None:
        """Store items in place of whatever was stored under their ids; see `Index.upsert`."""
        self._put(ids, codes, payloads, new=False)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove items and return how many there were of them; see `Index.delete`."""
        gone = set(ids)
        with self._writing:
            state = self._state
            there = [state.rows[id_] for id_ in gone if id_ in state.rows]
            if there:
                self._state = state.without(there)
            return len(there)

    def get(self, id: str, /) -> IndexItem:  # noqa: A002 -- the interface's word
        """Return what is stored under an id; see `Index.get`."""
        state = self._state
        if id not in state.rows:
            raise UsageError(f"no item {id!r} in the index")
        return state.item(state.rows[id])

    def get_many(self, ids: Sequence[str]) -> dict[str, IndexItem]:
        """Return what is stored under those of the ids that are there; see `Index.get_many`."""
        state = self._state
        return {id_: state.item(state.rows[id_]) for id_ in ids if id_ in state.rows}

    def count(
        self,
        modality: str,
        *,
        filter: Filter | None = None,  # noqa: A002 -- the interface's word
    ) -> int:
        """Return how many items a search of a modality compares; see `Index.count`."""
        check_option("modality", modality, self.modalities)
        state = self._state
        rows = state.columns[modality].rows
        return len(rows) if filter is None else int(state.matching(filter, rows).sum())

    def search(
        self,
        codes: Codes,
        *,
        k: int | None = None,
        modality: str | None = None,
        radius: int | None = None,
        filter: Filter | None = None,  # noqa: A002 -- the interface's word
    ) -> list[list[Hit]]:
        """Return the nearest items of each query, ordered by (distance, id); see `Index.search`."""
        modality = check_search(
            codes, k=k, modality=modality, radius=radius, bits=self.bits, modalities=self.modalities
        )
        state = self._state
        column = state.columns[modality]
        mask = None if filter is None else state.matching(filter, column.rows)
        found = column.engine.search(codes, k=k, radius=radius, mask=mask)
        rows = column.rows[found.rows].tolist()
        hits = [
            Hit(state.ids[row], distance, state.payload(row))
            for row, distance in zip(rows, found.distances.tolist(), strict=True)
        ]
        ends = found.offsets.tolist()
        return [hits[start:end] for start, end in pairwise(ends)]

    def items(self, *, batch: int = 10_000) -> Iterator[list[IndexItem]]:
        """Return all items in batches, in the order of their ids, as they are at the call."""
        if batch < 1:
            raise UsageError(f"batch is {batch}; it must be at least 1")
        state = self._state
        return (
            [state.item(row) for row in range(start, min(start + batch, len(state.ids)))]
            for start in range(0, len(state.ids), batch)
        )

    def info(self) -> dict[str, object]:
        """Return what the index is and holds, for people to read."""
        state = self._state
        return {
            "kind": "memory",
            "bits": self.bits,
            "model": self.model,
            "items": len(state.ids),
            "modalities": {name: len(state.columns[name].rows) for name in self.modalities},
            "engine": self.engine,
            "exact": get_engine(self.engine).exact,
        }

    def close(self) -> None:
        """Do nothing: there are no files or connections."""

    def __contains__(self, id: object, /) -> bool:  # noqa: A002
        """Whether something is stored under this id."""
        return id in self._state.rows

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._state.ids)

    def _put(
        self,
        ids: Sequence[str],
        codes: Codes | Mapping[str, Codes],
        payloads: Sequence[Mapping[str, object]] | None,
        *,
        new: bool,
    ) -> None:
        ids, codes, payloads = check_items(
            ids, codes, payloads, bits=self.bits, modalities=self.modalities
        )
        with self._writing:
            state = self._state
            there = [id_ for id_ in ids if id_ in state.rows]
            if there and new:
                raise DataError(f"id {there[0]!r} is already in the index; ids must be unique")
            if there:
                state = state.without([state.rows[id_] for id_ in there])
            if ids:
                self._state = state.with_items(ids, codes, payloads)
