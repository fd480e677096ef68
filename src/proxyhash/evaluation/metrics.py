"""The other retrieval metrics, from counts per distance: at N, within a radius, and as curves.

Whatever depends on the order of ties is its mean over all orders.
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

    A gallery of fewer than n items counts as failing at the places it lacks.
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
    """What a hash table gives that returns everything within a radius of the query.

    Attributes:
        radius: in bits.
        precision: share of relevant items among those returned; 0 for an empty look-up, which
            fails its user.
        recall: share of the relevant items that is returned; NaN where nothing is relevant.
        retrieved: how many items are returned.

    The last three are float64 (q,).
    """

    radius: int
    precision: Floats
    recall: Floats
    retrieved: Floats


def lookup(counts: Tally, *, radius: int = 2) -> Lookup:
    """Return what lies within `radius` bits of each query.

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
    """What happens as the Hamming radius grows from 0 to K; every array has K+1 entries.

    Sums over queries: `+` joins the curves of two sets of queries, and the properties divide.

    Attributes:
        queries: how many queries were summed.
        precision_sum: of the precision of the queries that get anything within the radius.
        recall_sum: of the recall.
        answered_sum: the queries that get anything within the radius.
        relevant: pairs of a query and a relevant item at exactly this distance, int64.
        irrelevant: the other pairs at exactly this distance, int64.
    """

    queries: int
    precision_sum: Floats
    recall_sum: Floats
    answered_sum: Floats
    relevant: npt.NDArray[np.int64]
    irrelevant: npt.NDArray[np.int64]

    @property
    def precision(self) -> Floats:
        """Mean precision of the queries that get anything; NaN where none does."""
        return _quotient(self.precision_sum, self.answered_sum)

    @property
    def recall(self) -> Floats:
        """Mean recall of all queries; NaN without queries."""
        return _quotient(self.recall_sum, self.queries)

    @property
    def answered(self) -> Floats:
        """Share of the queries that get anything; NaN without queries."""
        return _quotient(self.answered_sum, self.queries)

    def __add__(self, other: Curves) -> Curves:
        """Join the curves of two sets of queries."""
        return Curves(
            self.queries + other.queries,
            self.precision_sum + other.precision_sum,
            self.recall_sum + other.recall_sum,
            self.answered_sum + other.answered_sum,
            self.relevant + other.relevant,
            self.irrelevant + other.irrelevant,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the curves ready for JSON, rounded to six digits; null stands for NaN."""
        return {
            "radius": list(range(len(self.relevant))),
            **{name: _listed(getattr(self, name)) for name in ("precision", "recall", "answered")},
            "relevant_pairs": self.relevant.tolist(),
            "irrelevant_pairs": self.irrelevant.tolist(),
        }


def curves(counts: Tally) -> Curves:
    """Return precision and recall over the Hamming radius, of the queries with anything relevant.

    Queries are averaged, each with equal weight.
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
    """Return the gains of groups of ties, spread evenly over their places and discounted: (q,)."""
    last = len(discounts) - 1
    shares = discounts[np.minimum(stop, last)] - discounts[np.minimum(stop - items, last)]
    return np.asarray((gain * shares / np.maximum(items, 1)).sum(axis=1), np.float64)


def _check_n(n: int) -> None:
    if n < 1:
        raise UsageError(f"N is {n}; it must be at least 1")


def _quotient(numerator: Any, denominator: Any) -> Floats:
    """Return the quotient, and NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    result = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator != 0)
    return result


def _listed(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 6) for value in values]
