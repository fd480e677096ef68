"""An index in memory, over any engine."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.codes import Codes, code_bytes, distances
from proxyhash.errors import DataError, UsageError
from proxyhash.index.base import Index
from proxyhash.index.engines.base import ENGINES
from proxyhash.index.filters import matches
from proxyhash.index.hit import Hit, IndexItem
from proxyhash.index.open import register_index
from proxyhash.payload import copy_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Self

    import numpy.typing as npt

    from proxyhash.index.engines import Engine
    from proxyhash.index.filters import Filter

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
    capabilities = frozenset({"write", "changes", "count_distances", "count_values"})

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
        self._state = _State.empty(self.modalities, bits=self.bits, engine=engine)

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
        rows = column.rows[found.rows].tolist()
        hits = [
            Hit(state.ids[row], distance, state.payload(row))
            for row, distance in zip(rows, found.distances.tolist(), strict=True)
        ]
        ends = found.offsets.tolist()
        return [hits[start:end] for start, end in pairwise(ends)]

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


class _Column:
    """The codes of one modality and the engine over them, which is built when it is first needed.

    Args:
        codes: uint8 (n, ceil(bits/8)), a row for every item; zero where it lacks the modality.
        has: bool (n,), which items have it.
        bits: the code length.
        engine: name of the engine.

    Attributes:
        rows: int64 (m,), the items that the engine's rows stand for. They ascend with the ids, so
            an engine that orders ties by row orders them by id.
    """

    def __init__(self, codes: Codes, has: npt.NDArray[np.bool_], *, bits: int, engine: str) -> None:
        self.codes = codes
        self.has = has
        self.rows = np.flatnonzero(has)
        self._options: Any = {"bits": bits, "engine": engine}
        self._building = Lock()
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The engine over the codes of the items that have the modality."""
        with self._building:
            if self._engine is None:
                codes = self.codes if len(self.rows) == len(self.has) else self.codes[self.rows]
                self._engine = ENGINES[self._options["engine"]].build(
                    codes, bits=self._options["bits"]
                )
            return self._engine

    def take(self, rows: npt.NDArray[np.int64]) -> _Column:
        """Return the column of some items."""
        return _Column(self.codes[rows], self.has[rows], **self._options)

    def extend(self, codes: Codes | None, *, count: int) -> _Column:
        """Return the column with `count` items more, with these codes or without the modality."""
        has = np.concatenate([self.has, np.full(count, codes is not None)])
        if codes is None:
            codes = np.zeros((count, self.codes.shape[1]), np.uint8)
        return _Column(np.concatenate([self.codes, codes]), has, **self._options)


@dataclass(frozen=True)
class _State:
    """The items at one moment, in the order of their ids.

    Attributes:
        ids: n ids, ascending.
        payloads: n payloads; nobody else has a reference to them.
        columns: the codes by modality, their rows aligned with the ids.
        rows: each id's place among the ids.
    """

    ids: list[str]
    payloads: list[dict[str, object]]
    columns: dict[str, _Column]
    rows: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", {id_: row for row, id_ in enumerate(self.ids)})

    @classmethod
    def empty(cls, modalities: Sequence[str], *, bits: int, engine: str) -> _State:
        """Return the state of an index without items."""
        codes = np.empty((0, code_bytes(bits)), np.uint8)
        has = np.empty(0, np.bool_)
        columns = {name: _Column(codes, has, bits=bits, engine=engine) for name in modalities}
        return cls([], [], columns)

    def without(self, rows: Sequence[int]) -> _State:
        """Return the state without the items in these rows."""
        return self._take(np.delete(np.arange(len(self.ids)), rows))

    def with_items(
        self,
        ids: Sequence[str],
        codes: Mapping[str, Codes],
        payloads: Sequence[dict[str, object]],
    ) -> _State:
        """Return the state with items more, whose ids are new."""
        more = _State(
            [*self.ids, *ids],
            [*self.payloads, *payloads],
            {
                name: column.extend(codes.get(name), count=len(ids))
                for name, column in self.columns.items()
            },
        )
        order = sorted(range(len(more.ids)), key=more.ids.__getitem__)
        return more._take(np.array(order, np.int64))

    def matching(self, filter: Filter, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:  # noqa: A002
        """Return which of the rows have a payload that meets the filter, bool (len(rows),)."""
        return np.array([matches(filter, self.payloads[row]) for row in rows], np.bool_)

    def payload(self, row: int) -> dict[str, object]:
        """Return a payload that the caller may change."""
        copied = copy_json(self.payloads[row])
        assert isinstance(copied, dict)
        return copied

    def item(self, row: int) -> IndexItem:
        """Return the item in a row."""
        codes = {
            name: column.codes[row].copy()
            for name, column in self.columns.items()
            if column.has[row]
        }
        return IndexItem(self.ids[row], codes, self.payload(row))

    def _take(self, rows: npt.NDArray[np.int64]) -> _State:
        return _State(
            [self.ids[row] for row in rows],
            [self.payloads[row] for row in rows],
            {name: column.take(rows) for name, column in self.columns.items()},
        )
