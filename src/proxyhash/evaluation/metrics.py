"""Metrics at N, within a radius and as curves, from counts per distance.

A metric that depends on the order of ties is the mean over all orders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from proxyhash.errors import UsageError

if TYPE_CHECKING:
    from proxyhash.evaluation.ranking import Tally

__all__ = ["Curves", "Lookup", "curves", "lookup", "ndcg_at", "precision_at", "recall_at"]

Floats = npt.NDArray[np.float64]


def precision_at(counts: Tally, n: int) -> Floats:
    """Return the share of relevant items among the first n, float64 (q,).

    Places beyond the end of the gallery count as irrelevant.
    """
    return _hits_at(counts, n) / n


def recall_at(counts: Tally, n: int) -> Floats:
    """Return the share of all relevant items that is among the first n, float64 (q,).

    NaN where nothing is relevant.
    """
    return _quotient(_hits_at(counts, n), counts.relevant.sum(axis=1))


def ndcg_at(counts: Tally, n: int) -> Floats:
    """Return the normalized discounted cumulative gain of the first n, float64 (q,).

    Place i is discounted by 1 / log2(i + 1), and the ideal ranking is by the number of shared
    labels. NaN where nothing is relevant.
    """
    _check_n(n)
    discounts = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, n + 2)))])
    stop = np.cumsum(counts.items, axis=1)
    found = _discounted(counts.gain, counts.items, stop, discounts)
    best_first = counts.grades[:, ::-1]
    ideal = _discounted(
        best_first * counts.gains[::-1], best_first, np.cumsum(best_first, axis=1), discounts
    )
    return _quotient(found, ideal)


@dataclass(frozen=True)
class Lookup:
    """Look-up in a hash table that returns everything within a radius of the query.

    Attributes:
        radius: in bits.
        precision: share of relevant items among those returned, float64 (q,); 0 for none.
        recall: share of the relevant items that is returned, float64 (q,); NaN where nothing is
            relevant.
        retrieved: number of items returned, float64 (q,).
    """

    radius: int
    precision: Floats
    recall: Floats
    retrieved: Floats


def lookup(counts: Tally, *, radius: int = 2) -> Lookup:
    """Return the look-up within `radius` bits of each query.

    Raises:
        UsageError: "radius is -1; it must be at least 0".
    """
    if radius < 0:
        raise UsageError(f"radius is {radius}; it must be at least 0")
    within = slice(radius + 1)
    retrieved = counts.items[:, within].sum(axis=1).astype(np.float64)
    hits = counts.relevant[:, within].sum(axis=1)
    return Lookup(
        radius=radius,
        precision=_quotient(hits, np.maximum(retrieved, 1)),
        recall=_quotient(hits, counts.relevant.sum(axis=1)),
        retrieved=retrieved,
    )


@dataclass(frozen=True)
class Curves:
    """Precision, recall and pairs over the Hamming radius 0 to K, in arrays of K+1 entries.

    The attributes are sums over queries, which `+` adds; the properties are means.

    Attributes:
        queries: number of queries.
        precision_sum: sum of the precision of the queries with results within the radius.
        recall_sum: sum of the recall.
        answered_sum: number of queries with results within the radius.
        relevant: number of pairs of a query and a relevant item at this distance, int64.
        irrelevant: number of the other pairs at this distance, int64.
    """

    queries: int
    precision_sum: Floats
    recall_sum: Floats
    answered_sum: Floats
    relevant: npt.NDArray[np.int64]
    irrelevant: npt.NDArray[np.int64]

    @property
    def precision(self) -> Floats:
        """Mean precision of the queries with results; NaN where none has any."""
        return _quotient(self.precision_sum, self.answered_sum)

    @property
    def recall(self) -> Floats:
        """Mean recall of all queries; NaN without queries."""
        return _quotient(self.recall_sum, self.queries)

    @property
    def answered(self) -> Floats:
        """Share of the queries with results; NaN without queries."""
        return _quotient(self.answered_sum, self.queries)

    def __add__(self, other: Curves) -> Curves:
        """Return the curves of both sets of queries together."""
        return Curves(
            self.queries + other.queries,
            self.precision_sum + other.precision_sum,
            self.recall_sum + other.recall_sum,
            self.answered_sum + other.answered_sum,
            self.relevant + other.relevant,
            self.irrelevant + other.irrelevant,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the curves as JSON values, rounded to six digits, None for NaN."""
        return {
            "radius": list(range(len(self.relevant))),
            **{name: _listed(getattr(self, name)) for name in ("precision", "recall", "answered")},
            "relevant_pairs": self.relevant.tolist(),
            "irrelevant_pairs": self.irrelevant.tolist(),
        }


def curves(counts: Tally) -> Curves:
    """Return precision and recall over the Hamming radius, for the queries with relevant items.

    Every query has the same weight.
    """
    kept = counts.has_relevant
    items, relevant = counts.items[kept], counts.relevant[kept]
    retrieved, hits = np.cumsum(items, axis=1), np.cumsum(relevant, axis=1)
    return Curves(
        queries=int(kept.sum()),
        precision_sum=(hits / np.maximum(retrieved, 1)).sum(axis=0),
        recall_sum=(hits / hits[:, -1:]).sum(axis=0),
        answered_sum=(retrieved > 0).sum(axis=0).astype(np.float64),
        relevant=relevant.sum(axis=0),
        irrelevant=(items - relevant).sum(axis=0),
    )


def _hits_at(counts: Tally, n: int) -> Floats:
    """Return the expected number of relevant items among the first n, float64 (q,)."""
    _check_n(n)
    before = np.cumsum(counts.items, axis=1) - counts.items
    taken = np.clip(n - before, 0, counts.items)
    hits = counts.relevant * taken / np.maximum(counts.items, 1)
    return np.asarray(hits.sum(axis=1), np.float64)


def _discounted(gain: Any, items: Any, stop: Any, discounts: Floats) -> Floats:
    """Return the discounted gains of groups of ties, spread evenly over their places: (q,)."""
    last = len(discounts) - 1
    shares = discounts[np.minimum(stop, last)] - discounts[np.minimum(stop - items, last)]
    return np.asarray((gain * shares / np.maximum(items, 1)).sum(axis=1), np.float64)


def _check_n(n: int) -> None:
    if n < 1:
        raise UsageError(f"N is {n}; it must be at least 1")


def _quotient(numerator: Any, denominator: Any) -> Floats:
    """Return the quotient, or NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    result = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator != 0)
    return result


def _listed(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 6) for value in values]
