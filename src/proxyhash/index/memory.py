"""An index in memory, over any engine."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.codes import Codes, distances
from proxyhash.errors import DataError, UsageError
from proxyhash.index.base import Index
from proxyhash.index.engines.base import ENGINES
from proxyhash.index.hit import Hit, IndexItem
from proxyhash.index.memory_state import State
from proxyhash.index.open import register_index
from proxyhash.index.second_look import look_again

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

    import numpy.typing as npt

    from proxyhash.index.engines import Matches
    from proxyhash.index.fields import Fields
    from proxyhash.index.filters import Filter
    from proxyhash.index.memory_state import Column
    from proxyhash.index.second_look import SecondLook

__all__ = ["MemoryIndex"]


@register_index("memory")
class MemoryIndex(Index):
    """The `Index` that holds everything in memory.

    Every change makes a new state beside the old one and then takes its place, so searches in
    other threads meet all of a change or none of it. That, and building the engine again at the
    next search, costs time in the number of items: change many items per call. An index that grows
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

    kind = "memory"
    capabilities = frozenset({"write", "changes", "count_distances", "count_values", "fields"})

    def __init__(
        self,
        *,
        bits: int,
        model: str = "",
        modalities: Sequence[str] = ("code",),
        engine: str = "scan",
    ) -> None:
        super().__init__(bits=bits, model=model, modalities=modalities)
        self.engine = ENGINES[engine].name
        self._writing = Lock()
        self._state = State.empty(self.modalities, bits=self.bits, engine=engine)

    @classmethod
    def create(
        cls,
        uri: str | None = None,
        *,
        bits: int,
        model: str = "",
        modalities: Sequence[str] = ("code",),
        engine: str = "scan",
    ) -> Self:
        """Return a new index; the URI is None or "memory:", and names nothing."""
        del uri
        return cls(bits=bits, model=model, modalities=modalities, engine=engine)

    @classmethod
    def open(
        cls,
        uri: str | None = None,
        *,
        write: bool = True,
        bits: int | None = None,
        model: str | None = None,
        modalities: Sequence[str] = ("code",),
        engine: str = "scan",
    ) -> Self:
        """Return a new index, for `open_index(None, bits=64)`; see `create`.

        Raises:
            UsageError: no code length is given.
        """
        del write
        if bits is None:
            raise UsageError(
                "an index in memory is always new; give its code length, such as bits=64"
            )
        return cls.create(uri, bits=bits, model=model or "", modalities=modalities, engine=engine)

    @classmethod
    def exists(cls, uri: str | None = None) -> bool:
        """Whether there is an index to open: never, an index in memory is always new."""
        del uri
        return False

    @property
    def changes(self) -> object:
        """The state itself: every change makes another one."""
        return self._state

    def count_values(self, field: str) -> list[tuple[object, int]] | None:
        """Return the values in the lists of a payload field, each with how many items have it."""
        counts: Counter[tuple[type, object]] = Counter()  # 1, 1.0 and true are different values
        for payload in self._state.payloads:
            values = payload.get(field)
            if isinstance(values, list):
                plain = [value for value in values if not isinstance(value, list | dict)]
                counts.update({(type(value), value) for value in plain})
        return [(value, count) for (_, value), count in counts.items()]

    def fields(self) -> Fields:
        """Return the fields of all payloads by name, with the types of their values."""
        return self._state.fields

    def info(self) -> dict[str, object]:
        """Return kind, counts and settings, for people to read."""
        state = self._state
        return {
            "kind": self.kind,
            "bits": self.bits,
            "model": self.model,
            "items": len(state.ids),
            "modalities": {name: len(state.columns[name].rows) for name in self.modalities},
            "engine": self.engine,
            "exact": ENGINES[self.engine].exact,
        }

    def close(self) -> None:
        """Do nothing: there are no files or connections."""

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._state.ids)

    def _put(
        self,
        ids: list[str],
        codes: dict[str, Codes],
        payloads: list[dict[str, object]],
        *,
        new: bool,
    ) -> None:
        with self._writing:
            state = self._state
            there = [id_ for id_ in ids if id_ in state.rows]
            if there and new:
                raise DataError(f"id {there[0]!r} is already in the index; ids must be unique")
            if there:
                state = state.without([state.rows[id_] for id_ in there])
            if ids:
                self._state = state.with_items(ids, codes, payloads)

    def _delete(self, ids: list[str]) -> int:
        with self._writing:
            state = self._state
            there = [state.rows[id_] for id_ in ids if id_ in state.rows]
            if there:
                self._state = state.without(there)
            return len(there)

    def _get_many(self, ids: list[str]) -> dict[str, IndexItem]:
        state = self._state
        return {id_: state.item(state.rows[id_]) for id_ in ids if id_ in state.rows}

    def _contains(self, id_: str) -> bool:
        return id_ in self._state.rows

    def _count(self, modality: str, filter: Filter | None) -> int:  # noqa: A002
        state = self._state
        rows = state.columns[modality].rows
        return len(rows) if filter is None else int(state.matching(filter, rows).sum())

    def _search(
        self,
        codes: Codes,
        *,
        k: int | None,
        modality: str,
        radius: int | None,
        filter: Filter | None,  # noqa: A002
    ) -> list[list[Hit]]:
        state = self._state
        column = state.columns[modality]
        mask = None if filter is None else state.matching(filter, column.rows)
        found = column.engine.search(codes, k=k, radius=radius, mask=mask)
        return _hits(state, column, found)

    def _look_again(
        self,
        codes: Codes,
        look: SecondLook,
        *,
        k: int | None,
        modality: str,
        radius: int | None,
        filter: Filter | None,  # noqa: A002
    ) -> list[list[Hit]]:
        state = self._state
        column = state.columns[modality]
        mask = None if filter is None else state.matching(filter, column.rows)
        found = look_again(
            codes,
            look,
            column.dense,
            partial(column.engine.search, codes, mask=mask),
            k=k,
            radius=radius,
            mask=mask,
        )
        return _hits(state, column, found)

    def _count_distances(
        self,
        query: Codes,
        modality: str,
        filter: Filter | None,  # noqa: A002
    ) -> npt.NDArray[np.int64]:
        state = self._state
        column = state.columns[modality]
        found = distances(query, column.codes[column.rows])[0]
        if filter is not None:
            found = found[state.matching(filter, column.rows)]
        return np.bincount(found, minlength=self.bits + 1)

    def _items(self, batch: int) -> Iterator[list[IndexItem]]:
        state = self._state  # as it is at the call
        return (
            [state.item(row) for row in range(start, min(start + batch, len(state.ids)))]
            for start in range(0, len(state.ids), batch)
        )


def _hits(state: State, column: Column, found: Matches) -> list[list[Hit]]:
    rows = column.rows[found.rows].tolist()
    hits = [
        Hit(state.ids[row], distance, state.payload(row), other[0], other[1])
        for row, (distance, *other) in zip(rows, found.triples, strict=True)
    ]
    return [hits[start:end] for start, end in pairwise(found.offsets.tolist())]
