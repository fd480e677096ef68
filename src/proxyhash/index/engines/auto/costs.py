"""Measured costs of searches, on queries drawn from the codes themselves."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import inf, log
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.codes.bits import MAX_BITS
from proxyhash.index.engines.saved import is_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxyhash.codes import Codes
    from proxyhash.index.engines.base import Engine

__all__ = ["Cost", "compare", "draw_queries", "expected_cost", "measure", "read_costs"]

NEIGHBORS = (1, 10, 100, 1000)
"""The k that are measured; between them costs are interpolated on logarithmic scales."""

ROUNDS = 2

BATCH, ALONE = 256, 32
"""Queries that are searched together, and one by one.

As many as are worth it to go through a large collection once for all of them.
"""

BUDGET = 0.1
"""Seconds for the searches of one kind: a batch has fewer queries where those are slow."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Measured cost of one kind of search.

    Attributes:
        engine: its name.
        queries: how many were searched at once.
        k: the number of neighbors, None for all within the radius.
        radius: in bits, None for none.
        seconds: for each query.
    """

    engine: str
    queries: int
    k: int | None
    radius: int | None
    seconds: float

    @property
    def batch(self) -> bool:
        """Whether several queries were searched at once."""
        return self.queries > 1


def read_costs(saved: object, engines: Sequence[str]) -> list[Cost] | None:
    """Return the costs that a plan in a file holds, None unless they do for all its engines.

    Args:
        saved: what the file says.
        engines: names of the plan's engines; a single one needs no costs.
    """
    try:
        costs = [Cost(**cost) for cost in saved]  # type: ignore[attr-defined]
    except TypeError:
        return None
    valid = all(
        cost.engine in engines
        and is_whole(cost.queries, 1, 2**31)
        and (cost.k is None or is_whole(cost.k, 1, 2**48))
        and (cost.radius is None or is_whole(cost.radius, 0, MAX_BITS))
        and (cost.k is None) != (cost.radius is None)
        and isinstance(cost.seconds, float)
        and 0 <= cost.seconds < inf
        for cost in costs
    )
    if not valid:
        return None
    enough = len(engines) == 1 or all(
        any(cost.engine == name and cost.k and cost.batch == batch for cost in costs)
        for name in engines
        for batch in (False, True)
    )
    return costs if enough else None


def draw_queries(codes: Codes, *, seed: int = 0) -> Codes:
    """Return codes of `BATCH` random rows, fewer where there are fewer."""
    rows = np.random.default_rng(seed).choice(len(codes), min(BATCH, len(codes)), replace=False)
    return np.array(codes[np.sort(rows)])


def measure(
    engine: Engine, queries: Codes, *, give_up: float = inf, threads: int | None = None
) -> list[Cost]:
    """Return the costs of searches for k neighbors and within a radius, one by one and in batches.

    Args:
        engine: what to measure.
        queries: at least two packed codes.
        give_up: go on to no larger k or radius where a query takes more seconds than this.
        threads: how many threads searches use; default all cores.
    """
    radii = sorted({0, engine.bits // 32, engine.bits // 16, engine.bits // 8, engine.bits // 4})
    kinds: list[list[tuple[int | None, int | None]]] = [
        [(k, None) for k in NEIGHBORS if k <= engine.count],
        [(None, radius) for radius in radii],
    ]
    engine.search(queries[:1], k=1, threads=threads)  # compiles
    costs = []
    for kind in kinds:
        for k, radius in kind:
            alone = _alone(engine, queries, k, radius, threads)
            single = Cost(engine.name, 1, k, radius, alone)
            size = int(np.clip(BUDGET / single.seconds, 2, len(queries)))
            seconds = _seconds(engine, queries[-size:], k, radius, threads) / size
            together = Cost(engine.name, size, k, radius, seconds)
            costs += [single, together]
            if min(single.seconds, together.seconds) > give_up:
                break
    return costs


def compare(engines: Sequence[Engine], queries: Codes, *, threads: int | None = None) -> list[Cost]:
    """Return the least costs of several engines.

    They are measured in turn, so that what else the machine does meets all of them.

    Args:
        engines: the scan first; the others are given up where they take twice as long.
        queries: at least two packed codes.
        threads: how many threads searches use; default all cores.
    """
    least: dict[tuple[str, bool, int | None, int | None], Cost] = {}
    for _ in range(ROUNDS):
        give_up = inf
        for engine in engines:
            costs = measure(engine, queries, give_up=give_up, threads=threads)
            if give_up == inf:
                give_up = 2 * max(cost.seconds for cost in costs)
            for cost in costs:
                kind = (cost.engine, cost.batch, cost.k, cost.radius)
                least[kind] = min(least.get(kind, cost), cost, key=lambda one: one.seconds)
    return list(least.values())


def expected_cost(
    costs: Sequence[Cost], *, queries: int, k: int | None, radius: int | None, share: float = 1.0
) -> float:
    """Return the expected seconds per query of one engine, from what was measured of it.

    Args:
        costs: of one engine.
        queries: how many are searched at once.
        k: at most this many rows per query, or None.
        radius: no row farther than this, or None.
        share: of the rows, those that a mask allows. To find k of them, an engine that goes from
            near to far passes about k / share rows.
    """
    kind = [cost for cost in costs if cost.batch == (queries > 1)]
    answers = []
    if k is not None:
        nearest = [cost for cost in kind if cost.k is not None]
        answers.append(_interpolate(nearest, k / max(share, 1e-9)))
    if radius is not None:
        wide = [cost for cost in kind if cost.radius is not None and cost.radius >= radius]
        answers.append(min((cost.seconds for cost in wide), default=inf))
    return min(answers)


def _interpolate(costs: Sequence[Cost], k: float) -> float:
    """Return the seconds at k; beyond what was measured they are taken to grow as k does."""
    known = sorted((float(cost.k or 1), cost.seconds) for cost in costs)
    largest, seconds = known[-1]
    if k >= largest:
        return seconds * k / largest
    places, values = zip(*known, strict=True)
    return float(np.exp(np.interp(log(k), np.log(places), np.log(values))))


def _alone(
    engine: Engine, queries: Codes, k: int | None, radius: int | None, threads: int | None
) -> float:
    """Return the mean seconds of queries searched one by one: as many as the budget allows."""
    times: list[float] = []
    while len(times) < min(ALONE, len(queries)) and sum(times) < BUDGET / 3:
        one = queries[len(times) : len(times) + 1]
        times.append(_seconds(engine, one, k, radius, threads))
    return sum(times) / len(times)


def _seconds(
    engine: Engine, queries: Codes, k: int | None, radius: int | None, threads: int | None
) -> float:
    """Return the seconds of a search: the least of three, where they are short."""
    best, spent = inf, 0.0
    for _ in range(3):
        start = time.perf_counter()
        engine.search(queries, k=k, radius=radius, threads=threads)
        best = min(best, time.perf_counter() - start)
        spent += best
        if spent > BUDGET / 3:
            break
    return best
