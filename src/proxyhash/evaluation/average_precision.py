"""Average precision of rankings with ties, from counts per distance, and its mean over queries.

A ranking is a sequence of groups of equal distance. Let a group hold n items, r of them relevant,
and let c items with R relevant ones come before it. Over random orders of the group (McSherry and
Najork, "Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied
Scores", ECIR 2008), the place j of the group (1 to n) is relevant with probability r/n, and then
R + 1 + (j-1)(r-1)/(n-1) items are expected to be relevant up to it. The group therefore adds

    sum over j of  r/n * (R + 1 + (j-1) (r-1)/(n-1)) / (c + j)

to the sum of precisions. A sum of (p + (j-1) s) / (c + j) is s m + (p - s (c+1)) (H(c+m) - H(c)),
with harmonic numbers H, so each group takes a constant number of steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from proxyhash.evaluation.protocol import Protocol
from proxyhash.evaluation.ranking import Labels, Ranking, Tally

if TYPE_CHECKING:
    from proxyhash.codes import Codes

__all__ = [
    "MAP",
    "average_precision",
    "block_average_precision",
    "mean_average_precision",
    "mean_over_queries",
    "summarize",
    "weighted_average_precision",
]

Floats = npt.NDArray[np.float64]

_TABLE = 2**20  # harmonic numbers up to here are added up, which is faster than their formula


def average_precision(
    counts: Tally,
    *,
    ties: Literal["expected", "stable", "optimistic", "pessimistic"] = "expected",
    cutoff: int | None = None,
    divisor: Literal["hits", "min", "relevant"] = "hits",
    stable_sums: Floats | None = None,
) -> Floats:
    """Return the average precision of each query, float64 (q,); NaN where nothing is relevant.

    AP@R is the sum of the precisions at the relevant items among the first R, over a divisor. Where
    R cuts a group of ties, both the sum and the divisor `hits` depend on the order of the group:
    `expected` is then the mean of their quotient over all orders (0 for an order without a hit),
    not the quotient of their means. The first m places of a group hold x relevant items with
    hypergeometric probability and, given x, in any order with equal probability, so that this mean
    is exact, too: a sum over x.

    With divisor `hits`, `optimistic` and `pessimistic` are orders, not bounds: one more hit late in
    the first R lowers a mean of precisions. With the other divisors, and without a
    cutoff, optimistic >= expected >= pessimistic.

    Args:
        counts: the gallery by distance from each query.
        ties: the order of items at equal distance, as in `Protocol`.
        cutoff: R, or None for the whole gallery.
        divisor: `hits` among the first R, `min` of R and the relevant items, or all `relevant`.
        stable_sums: the result of `Ranking.stable_precision_sums`; only for `stable` ties.

    Raises:
        ValueError: `stable` ties without `stable_sums`.
    """
    relevant = counts.relevant.sum(axis=1)
    if ties == "stable":
        if stable_sums is None:
            raise ValueError("ties 'stable' need stable_sums; counts do not have the order")
        sums, hits = stable_sums[:, 0], stable_sums[:, 1]
    elif ties == "expected":
        if divisor == "hits" and cutoff is not None:
            return np.where(relevant > 0, _expected_over_hits(counts, cutoff), np.nan)
        sums, hits = _expected_sums(counts, counts.relevant, cutoff).sum(axis=1), relevant
    else:
        sums, hits = _extreme_sums(counts, cutoff, relevant_first=ties == "optimistic")
    divisors = {
        "hits": hits,
        "relevant": relevant,
        "min": relevant if cutoff is None else np.minimum(relevant, cutoff),
    }
    return np.where(relevant > 0, _ratio(sums, divisors[divisor]), np.nan)


def weighted_average_precision(counts: Tally) -> Floats:
    """Return the weighted AP of each query, float64 (q,); NaN where nothing is relevant.

    The mean, over all relevant items of the ranking, of the average number of shared labels up to
    the item (as in Zhao et al., "Deep Semantic Ranking Based Hashing for Multi-Label Image
    Retrieval", CVPR 2015), expected over the orders of ties. With one label per item it is the AP.
    """
    relevant = counts.relevant.sum(axis=1)
    sums = _expected_sums(counts, counts.shared, None).sum(axis=1)
    return np.where(relevant > 0, _ratio(sums, relevant), np.nan)


def _expected_sums(counts: Tally, worth: npt.NDArray[np.int64], cutoff: int | None) -> Floats:
    """Return each group's expected sum, over its relevant items, of (worth so far) / place.

    `worth` (q, K+1) is the total worth of the items at each distance, where irrelevant items have
    worth 0: the number of relevant items for AP, their shared labels for the weighted AP. For two
    places of a group, the expected worth of the earlier where the later is relevant is, over all
    orders, worth * (r - 1) / (n (n-1)).
    """
    there = worth != 0  # the others add nothing, and are most where hardly any items tie
    sums = np.zeros(worth.shape)
    worth_before = (np.cumsum(worth, axis=1) - worth)[there]
    items, before = (each[there] for each in _groups(counts))
    worth, relevant = worth[there], counts.relevant[there]
    taken = items if cutoff is None else np.clip(cutoff - before, 0, items)
    first = _ratio(relevant * worth_before + worth, items)
    step = _ratio(worth * (relevant - 1.0), items * (items - 1))
    sums[there] = _linear_over_place(first, step, before, taken)
    return sums


def _extreme_sums(
    counts: Tally, cutoff: int | None, *, relevant_first: bool
) -> tuple[Floats, Floats]:
    """Return the sums of precisions, and the hits, with each group's relevant items at one end."""
    items, before = _groups(counts)
    relevant = counts.relevant
    start = before if relevant_first else before + items - relevant
    taken = relevant if cutoff is None else np.clip(cutoff - start, 0, relevant)
    hits_before = np.cumsum(relevant, axis=1) - relevant
    sums = _linear_over_place(hits_before + 1.0, np.ones_like(start), start, taken)
    return sums.sum(axis=1), taken.sum(axis=1)


def _expected_over_hits(counts: Tally, cutoff: int) -> Floats:
    """Return the mean over all orders of (sum of precisions) / (hits), both among the first R."""
    items, before = _groups(counts)
    whole = before + items <= cutoff
    sums = np.where(whole, _expected_sums(counts, counts.relevant, None), 0.0).sum(axis=1)
    hits = np.where(whole, counts.relevant, 0).sum(axis=1)
    result = _ratio(sums, hits)
    cut = (before < cutoff) & ~whole & (counts.relevant > 0)
    for query, group in zip(*np.nonzero(cut), strict=True):
        result[query] = _cut_group(
            sums[query],
            hits[query],
            before=before[query, group],
            taken=cutoff - before[query, group],
            items=items[query, group],
            relevant=counts.relevant[query, group],
        )
    return result


def _cut_group(
    sums: float, hits: int, *, before: float, taken: float, items: float, relevant: int
) -> float:
    """Return the expected quotient where `taken` of a group's `items` are within the cutoff."""
    found = np.arange(max(0, taken - items + relevant), min(relevant, taken) + 1)
    # Hypergeometric probabilities from the ratios of neighbors, so that no factorial overflows.
    now = found[:-1]
    steps = np.log((relevant - now) * (taken - now))
    steps -= np.log((now + 1) * (items - relevant - taken + now + 1))
    logs = np.concatenate([[0.0], np.cumsum(steps)])
    chances = np.exp(logs - logs.max())
    chances /= chances.sum()
    step = found * (found - 1) / max(taken * (taken - 1), 1)
    first = found / taken * (hits + 1)
    totals = sums + _linear_over_place(first, step, np.float64(before), np.float64(taken))
    return float(chances @ _ratio(totals, hits + found))


def _groups(counts: Tally) -> tuple[Floats, Floats]:
    items = counts.items.astype(np.float64)
    return items, np.cumsum(items, axis=1) - items


def _linear_over_place(first: Any, step: Any, before: Any, taken: Any) -> Floats:
    """Return sum over j = 1..taken of (first + (j-1) step) / (before + j), elementwise."""
    harmonic = _harmonic(before + taken) - _harmonic(before)
    return np.asarray(step * taken + (first - step * (before + 1)) * harmonic)


def _harmonic(counts: Any) -> Floats:
    """Return the harmonic numbers of whole numbers, which may be floats."""
    most = int(np.max(counts, initial=0))
    if most <= _TABLE:
        sums = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, most + 1))])
        return np.asarray(sums[np.asarray(counts, np.int64)])
    from scipy.special import digamma

    return np.asarray(digamma(counts + 1.0) + np.euler_gamma)


def _ratio(numerator: Any, denominator: Any) -> Floats:
    """Return the quotient, or 0 where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    result = np.zeros(numerator.shape)
    np.divide(numerator, denominator, out=result, where=denominator != 0)
    return result


@dataclass(frozen=True)
class MAP:
    """Mean average precision.

    Attributes:
        value: mean over the averaged queries; NaN without any.
        queries: number of queries that were averaged.
        left_out: number of queries that were not, because nothing in the gallery is relevant.
        per_query: float64 (q,), the AP of every query; NaN where nothing is relevant.
    """

    value: float
    queries: int
    left_out: int
    per_query: Floats


def mean_average_precision(
    query_codes: Codes,
    gallery_codes: Codes,
    query_labels: Labels,
    gallery_labels: Labels,
    *,
    bits: int,
    protocol: Protocol | None = None,
    threads: int | None = None,
) -> MAP:
    """Return the mAP of queries against a gallery, in O(q n) time without sorting.

    Peak memory without the inputs: about 20 MB, and one bit per item and class.

    Example:
        >>> import numpy as np
        >>> query = np.array([[0b0000_0000]], np.uint8)
        >>> gallery = np.array([[0b0000_0000], [0b1000_0000], [0b1000_0001]], np.uint8)
        >>> labels = np.array([[True], [False], [True]])
        >>> round(mean_average_precision(query, gallery, labels[:1], labels, bits=8).value, 4)
        0.8333

    Args:
        query_codes: packed codes, uint8 (q, B).
        gallery_codes: packed codes, uint8 (n, B).
        query_labels: bool (q, C).
        gallery_labels: bool (n, C).
        bits: the code length.
        protocol: rules for ties, cutoff, divisor and queries without relevant items; its gallery
            is ignored.
        threads: number of threads; all cores by default.

    Raises:
        DataError: codes or labels of the wrong type, width or length.
    """
    protocol = protocol or Protocol()
    ranking = Ranking(query_codes, gallery_codes, query_labels, gallery_labels, bits, threads)
    per_query = np.concatenate(
        [
            block_average_precision(ranking, rows, ranking.tally(rows, graded=False), protocol)
            for rows in ranking.blocks(graded=False)
        ]
    )
    return summarize(per_query, protocol)


def block_average_precision(
    ranking: Ranking, rows: slice, counts: Tally, protocol: Protocol
) -> Floats:
    """Return the AP of the queries `rows` with the tally `counts`, float64 (q,)."""
    stable = None
    if protocol.ties == "stable":
        stable = ranking.stable_precision_sums(counts, rows, cutoff=protocol.cutoff)
    return average_precision(
        counts,
        ties=protocol.ties,
        cutoff=protocol.cutoff,
        divisor=protocol.divisor,
        stable_sums=stable,
    )


def summarize(per_query: Floats, protocol: Protocol) -> MAP:
    """Return the mAP of average precisions that are NaN where nothing is relevant."""
    kept = ~np.isnan(per_query)
    counted = len(per_query) if protocol.empty == "zero" else int(kept.sum())
    return MAP(
        value=mean_over_queries(per_query, kept, protocol),
        queries=counted,
        left_out=len(per_query) - counted,
        per_query=per_query,
    )


def mean_over_queries(values: Floats, kept: npt.NDArray[np.bool_], protocol: Protocol) -> float:
    """Return the mean over the queries that the protocol averages; NaN without any.

    Args:
        values: float64 (q,); NaN where a metric is undefined for lack of relevant items.
        kept: the queries with relevant items, bool (q,).
        protocol: its `empty` says whether the other queries are left out or averaged, 0 for NaN.
    """
    counted = np.nan_to_num(values) if protocol.empty == "zero" else values[kept]
    return float(counted.mean()) if len(counted) else float("nan")
