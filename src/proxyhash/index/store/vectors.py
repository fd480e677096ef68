"""Vectors that a store keeps beside its codes: rows to write, to copy and to check.

A row holds the signed outputs of an item in one modality; their signs are those of its code. Where
the item lacks the modality, it holds zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.codes import Codes, Weights, signs
from proxyhash.codes.asymmetric import ONE
from proxyhash.codes.vectors import (
    STEPS,
    Vectors,
    stored_vectors,
    vector_dtype,
    weights_of_vectors,
)
from proxyhash.index.hit import IndexItem
from proxyhash.index.store.row_log import BLOCK_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxyhash.index.store.generation import Generation
    from proxyhash.index.store.header import Header

__all__ = ["Weigh", "copied_vectors", "find_vector_problems", "vector_rows"]

Weigh = Callable[[Sequence[IndexItem]], Mapping[str, Weights]]
"""Tells how sure stored items are of each bit, uint16 (n, bits), by modality."""

MAX_NAMED = 20


def vector_rows(
    header: Header, codes: Codes | None, weights: Weights | None, *, count: int
) -> Vectors:
    """Return rows of vectors, (count, bits); of codes without weights, as sure of each bit."""
    assert header.vectors is not None
    if codes is None:
        return np.zeros((count, header.bits), vector_dtype(header.vectors))
    if weights is None:
        weights = np.full((count, header.bits), ONE, np.uint16)
    return stored_vectors(codes, weights, bits=header.bits, kind=header.vectors)


def copied_vectors(
    source: Generation,
    target: Generation,
    batch: Sequence[tuple[int, str, str, int]],
    weigh: Weigh | None,
) -> Iterator[tuple[str, Vectors]]:
    """Yield the vectors of a copy by modality, of items by row, id, payload and checksum.

    They are the source's, unless `weigh` tells others.
    """
    if not target.vectors:
        return
    rows = np.array([row for row, *_ in batch], np.int64)
    told: Mapping[str, Weights] = {}
    if weigh is not None:
        told = weigh(source.as_items([(row, id_, payload) for row, id_, payload, _ in batch]))
    for name in target.vectors:
        there = source.rows.visible(name)[rows]
        weights = told.get(name)
        if weights is None and source.vectors:
            kept = source.vectors[name].map(source.rows.count)[rows]
            if source.header.vectors == target.header.vectors:
                yield name, kept
                continue
            weights = weights_of_vectors(kept)
        found = vector_rows(target.header, source.gather(name, rows), weights, count=len(rows))
        found[~there] = 0
        yield name, found


def find_vector_problems(generation: Generation) -> Iterator[str]:
    """Yield what of the vectors does not fit the codes, a sentence each."""
    rows = generation.rows
    for name, log in generation.vectors.items():
        visible, named = rows.visible(name), 0
        for start in range(0, rows.count, BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, rows.count)
            vectors: Any = log.read(start, stop)
            codes = generation.codes[name].read(start, stop)
            sound = signs(codes, bits=generation.header.bits) * np.sign(vectors) >= 0
            largest = STEPS if vectors.dtype == np.int8 else 1
            sound &= (vectors >= -largest) & (vectors <= largest)
            for row in np.flatnonzero(visible[start:stop] & ~sound.all(axis=1)):
                named += 1
                if named <= MAX_NAMED:
                    yield f"{log.path}, row {start + row}: the vector does not fit the code"
        if named > MAX_NAMED:
            yield f"{log.path}: {named - MAX_NAMED} more rows that do not fit their codes"
