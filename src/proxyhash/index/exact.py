"""An index in memory that compares the query with every code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxyhash.codes import Codes, check_bits, check_codes, code_bytes, top_k
from proxyhash.errors import DataError, UsageError
from proxyhash.index.hit import Hit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ExactIndex"]


class ExactIndex:
    """The `Index` that holds everything in memory and misses nothing.

    Items are kept in the order of their ids, so that `top_k`'s order by (distance, position) is
    the order by (distance, id), whatever order they were added in.

    Args:
        bits: the code length.
        model: fingerprint of the model that made the codes, "" when unknown.

    Example:
        >>> import numpy as np
        >>> index = ExactIndex(bits=8)
        >>> index.add(["b", "a"], np.array([[0b11], [0b00]], np.uint8))
        >>> index.search(np.array([[0b01]], np.uint8), k=5)[0]
        [Hit(id='a', distance=1, payload={}), Hit(id='b', distance=1, payload={})]
    """

    def __init__(self, *, bits: int, model: str = "") -> None:
        self.bits = check_bits(bits)
        self.model = model
        self._ids: list[str] = []
        self._payloads: list[Mapping[str, object]] = []
        self._codes: Codes = np.empty((0, code_bytes(bits)), np.uint8)
        self._rows: dict[str, int] = {}

    def add(
        self,
        ids: Sequence[str],
        codes: Codes,
        *,
        payloads: Sequence[Mapping[str, object]] | None = None,
    ) -> None:
        """Store codes under new ids; all of them or none.

        Args:
            ids: n ids, none of them stored already.
            codes: packed codes, uint8 (n, ceil(bits/8)).
            payloads: n mappings that hits carry along; default empty ones.

        Raises:
            DataError: "id 'x' is already in the index", or the codes or payloads do not fit.
        """
        check_codes(codes, bits=self.bits)
        if payloads is None:
            payloads = [{}] * len(ids)
        if not len(ids) == len(codes) == len(payloads):
            raise DataError(
                f"{len(ids)} ids, {len(codes)} codes and {len(payloads)} payloads were given; "
                "an item has one of each"
            )
        seen = set(self._rows)
        for id_ in ids:
            if id_ in seen:
                raise DataError(f"id {id_!r} is already in the index; ids must be unique")
            seen.add(id_)
        all_ids = [*self._ids, *ids]
        all_payloads = [*self._payloads, *payloads]
        order = sorted(range(len(all_ids)), key=all_ids.__getitem__)
        self._ids = [all_ids[row] for row in order]
        self._payloads = [all_payloads[row] for row in order]
        self._codes = np.concatenate([self._codes, codes])[order]
        self._rows = {id_: row for row, id_ in enumerate(self._ids)}

    def search(self, codes: Codes, *, k: int) -> list[list[Hit]]:
        """Return the nearest min(k, n) items of each query, ordered by (distance, id).

        Args:
            codes: packed queries, uint8 (q, ceil(bits/8)).
            k: how many hits a query, at least 1.

        Raises:
            UsageError: "k is 0; it must be at least 1".
            DataError: the codes have another width than the index.
        """
        check_codes(codes, bits=self.bits, name="query codes")
        found = top_k(codes, self._codes, k=k)
        return [
            [
                Hit(self._ids[row], int(distance), self._payloads[row])
                for row, distance in zip(rows, distances, strict=True)
            ]
            for rows, distances in zip(found.positions, found.distances, strict=True)
        ]

    def get(self, id: str, /) -> Codes:  # noqa: A002 -- the interface's word
        """Return the code stored under an id, uint8 (ceil(bits/8),).

        Raises:
            UsageError: "no item 'x' in the index".
        """
        if id not in self._rows:
            raise UsageError(f"no item {id!r} in the index")
        code: Codes = self._codes[self._rows[id]]
        return code

    def __contains__(self, id: object, /) -> bool:  # noqa: A002
        """Whether something is stored under this id."""
        return id in self._rows

    def __len__(self) -> int:
        """Return the number of codes."""
        return len(self._ids)
