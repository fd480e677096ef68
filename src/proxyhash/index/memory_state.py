"""The items of an index in memory at one moment, and the codes of one modality of theirs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.codes import Codes, code_bytes
from proxyhash.index.engines.base import ENGINES
from proxyhash.index.fields import gather_fields, shape_of
from proxyhash.index.filters import matches
from proxyhash.index.hit import IndexItem
from proxyhash.payload import copy_json
from proxyhash.stopping import check_stop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from proxyhash.index.engines import Engine
    from proxyhash.index.fields import Fields
    from proxyhash.index.filters import Filter

__all__ = ["State"]


class Column:
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
                self._engine = ENGINES[self._options["engine"]].build(
                    self.dense, bits=self._options["bits"]
                )
            return self._engine

    @cached_property
    def dense(self) -> Codes:
        """The codes of the items that have the modality, uint8 (m, ceil(bits/8))."""
        return self.codes if len(self.rows) == len(self.has) else self.codes[self.rows]

    def take(self, rows: npt.NDArray[np.int64]) -> Column:
        """Return the column of some items."""
        return Column(self.codes[rows], self.has[rows], **self._options)

    def extend(self, codes: Codes | None, *, count: int) -> Column:
        """Return the column with `count` items more, with these codes or without the modality."""
        has = np.concatenate([self.has, np.full(count, codes is not None)])
        if codes is None:
            codes = np.zeros((count, self.codes.shape[1]), np.uint8)
        return Column(np.concatenate([self.codes, codes]), has, **self._options)


@dataclass(frozen=True)
class State:
    """The items at one moment, in the order of their ids.

    Attributes:
        ids: n ids, ascending.
        payloads: n payloads; nobody else has a reference to them.
        columns: the codes by modality, their rows aligned with the ids.
        rows: each id's place among the ids.
    """

    ids: list[str]
    payloads: list[dict[str, object]]
    columns: dict[str, Column]
    rows: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", {id_: row for row, id_ in enumerate(self.ids)})

    @classmethod
    def empty(cls, modalities: Sequence[str], *, bits: int, engine: str) -> State:
        """Return the state of an index without items."""
        codes = np.empty((0, code_bytes(bits)), np.uint8)
        has = np.empty(0, np.bool_)
        columns = {name: Column(codes, has, bits=bits, engine=engine) for name in modalities}
        return cls([], [], columns)

    def without(self, rows: Sequence[int]) -> State:
        """Return the state without the items in these rows."""
        return self._take(np.delete(np.arange(len(self.ids)), rows))

    def with_items(
        self,
        ids: Sequence[str],
        codes: Mapping[str, Codes],
        payloads: Sequence[dict[str, object]],
    ) -> State:
        """Return the state with items more, whose ids are new."""
        more = State(
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
        found = []
        for start in range(0, len(rows), 1000):
            check_stop()
            part = rows[start : start + 1000].tolist()
            found += [matches(filter, self.payloads[row]) for row in part]
        return np.array(found, np.bool_)

    @cached_property
    def fields(self) -> Fields:
        """The fields of all payloads."""
        shapes = Counter(map(shape_of, self.payloads))
        return gather_fields(shapes.items(), complete=True)

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

    def _take(self, rows: npt.NDArray[np.int64]) -> State:
        return State(
            [self.ids[row] for row in rows],
            [self.payloads[row] for row in rows],
            {name: column.take(rows) for name, column in self.columns.items()},
        )
