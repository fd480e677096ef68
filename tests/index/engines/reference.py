"""The answer of a search by definition: Python integers, one loop, one sort."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.codes import Codes, pack

if TYPE_CHECKING:
    from proxyhash.index.engines import Matches

Answer = list[list[tuple[int, int]]]


def slow_search(
    query: Codes,
    codes: Codes,
    *,
    k: int | None,
    radius: int | None = None,
    order: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> Answer:
    """Return (row, distance) of each query's nearest rows, by (distance, order)."""
    numbers = [int.from_bytes(code.tobytes(), "big") for code in codes]
    ranks = range(len(codes)) if order is None else order.tolist()
    answer = []
    for code in query:
        number = int.from_bytes(code.tobytes(), "big")
        found = sorted(
            ((number ^ other).bit_count(), ranks[row], row)
            for row, other in enumerate(numbers)
            if mask is None or mask[row]
        )
        near = [
            (row, distance) for distance, _, row in found if radius is None or distance <= radius
        ]
        answer.append(near[:k])
    return answer


def as_answer(found: Matches) -> Answer:
    """Return what an engine found in the same form, its types checked."""
    assert found.offsets.dtype == found.rows.dtype == np.int64
    assert found.distances.dtype == np.uint16
    assert found.offsets[0] == 0
    assert found.offsets[-1] == len(found.rows) == len(found.distances)
    pairs = list(zip(found.rows.tolist(), found.distances.tolist(), strict=True))
    ends = found.offsets.tolist()
    return [pairs[start:stop] for start, stop in pairwise(ends)]


def draw_codes(count: int, bits: int, seed: int, *, kind: str = "random") -> Codes:
    """Return codes that are random, drawn from five different ones, or around five of them."""
    rng = np.random.default_rng(seed)
    if kind == "random":
        return pack(rng.integers(0, 2, (count, bits)))
    centers = rng.integers(0, 2, (5, bits))[rng.integers(0, 5, count)]
    return pack(centers ^ (rng.random((count, bits)) < (0.1 if kind == "clustered" else 0.0)))
