"""Mean average precision, and how a value per query becomes one figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from proxyhash.evaluation.average_precision import average_precision
from proxyhash.evaluation.protocol import Protocol
from proxyhash.evaluation.ranking import Labels, Ranking, Tally

if TYPE_CHECKING:
    from proxyhash.codes import Codes

__all__ = [
    "MAP",
    "block_average_precision",
    "mean_average_precision",
    "mean_over_queries",
    "summarize",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MAP:
    """Mean average precision.

    Attributes:
        value: the mean over the queries that count; NaN when none does.
        queries: how many queries were averaged.
        left_out: how many were not, because nothing in the gallery is relevant to them.
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
    """Return the mAP of queries against a gallery, in time O(q n) and without a sort.

    It takes about 20 MB over its inputs, and one bit a label of each item.

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
        protocol: tie rule, cutoff, divisor and what becomes of empty queries; its gallery is
            whatever is given here.
        threads: how many threads to use; default all cores.

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
    """Return the AP by the protocol of the queries `rows`, whose tally is `counts`: float64."""
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
    """Return the mAP of average precisions, NaN where nothing is relevant."""
    kept = ~np.isnan(per_query)
    counted = len(per_query) if protocol.empty == "zero" else int(kept.sum())
    return MAP(
        value=mean_over_queries(per_query, kept, protocol),
        queries=counted,
        left_out=len(per_query) - counted,
        per_query=per_query,
    )


def mean_over_queries(values: Floats, kept: npt.NDArray[np.bool_], protocol: Protocol) -> float:
    """Return the mean over the queries that count; NaN when none does.

    Args:
        values: float64 (q,); NaN where a metric knows no value for lack of relevant items.
        kept: the queries with anything relevant, bool (q,).
        protocol: its `empty` says whether the other queries are left out, or count with 0 for NaN.
    """
    counted = np.nan_to_num(values) if protocol.empty == "zero" else values[kept]
    return float(counted.mean()) if len(counted) else float("nan")
