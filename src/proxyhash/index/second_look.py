"""A second look at a search: ranking by another distance, among all rows or a short-list.

The short-list is what a plain search finds: the nearest rows by (distance, order). Either way the
answer is ordered by (other distance, order), the same from every index. The other distance is the
asymmetric one, or where an index keeps vectors, that to those.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from proxyhash.codes.asymmetric import (
    ONE,
    Weights,
    asymmetric_top_k,
    paired_asymmetric_distances,
)
from proxyhash.codes.hamming import paired_distances
from proxyhash.codes.vectors import in_bits, paired_vector_distances, vector_top_k
from proxyhash.errors import check_option
from proxyhash.index.checks import check_shortlist
from proxyhash.index.engines.base import Matches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from proxyhash.codes import Codes
    from proxyhash.codes.vectors import Vectors
    from proxyhash.index.hit import Hit, IndexItem

__all__ = [
    "RERANKINGS",
    "SHORTLIST",
    "SecondLook",
    "look_again",
    "rank_hits",
    "rank_list",
]

SHORTLIST = 1000
"""Items that a second look ranks by default."""


@dataclass(frozen=True, eq=False)
class SecondLook:
    """Weights of the queries of a search by another distance, and how far it looks.

    Attributes:
        weights: the confidence in each bit of each query, uint16 (q, bits).
        shortlist: how many of the nearest items by Hamming distance are ranked, at least k; None
            for all.
        by: "asymmetric": the distance to the items' bits; "vectors": to their stored vectors.

    Raises:
        UsageError: "shortlist is 0; ...", or `by` is something else.
    """

    weights: Weights
    shortlist: int | None = SHORTLIST
    by: str = "asymmetric"

    def __post_init__(self) -> None:
        check_shortlist(self.shortlist)
        check_option("by", self.by, RERANKINGS)

    def limit(self, k: int | None) -> int | None:
        """Return how many items the plain search has to find; None for all within its radius."""
        return None if k is None or self.shortlist is None else max(k, self.shortlist)


RERANKINGS = ("asymmetric", "vectors")
"""What a second look can rank by."""


class PlainSearch(Protocol):
    """A search by Hamming distance in the same rows."""

    def __call__(self, *, k: int | None, radius: int | None) -> Matches: ...


def look_again(
    query: Codes,
    look: SecondLook,
    codes: Codes,
    search: PlainSearch,
    *,
    k: int | None,
    radius: int | None,
    mask: npt.NDArray[np.bool_] | None = None,
    order: npt.NDArray[np.uint64] | None = None,
    vectors: Vectors | None = None,
) -> Matches:
    """Return the nearest rows of each query by asymmetric or vector distance.

    Args:
        query: packed codes (q, B).
        look: their weights, and how many rows are ranked.
        codes: those of all rows, (n, B).
        search: finds rows by Hamming distance, among those of the mask.
        k: at most this many rows per query; None for all within `radius`.
        radius: no row is farther than this by Hamming distance; None for no limit.
        mask: bool (n,); rows where it is False are never returned.
        order: uint64 (n,); ties go to the smaller one. Default: the row.
        vectors: those of all rows, (n, K), where `look` is by them.
    """
    gallery = codes if vectors is None or look.by == "asymmetric" else vectors
    if look.shortlist is not None or radius is not None:
        found = search(k=look.limit(k), radius=radius)
        return rank_list(query, look, found, gallery, k=k, order=order)
    assert k is not None
    top_k = asymmetric_top_k if look.by == "asymmetric" else vector_top_k
    ranked = top_k(query, look.weights, gallery, k=k, mask=mask, order=order)
    width = ranked.positions.shape[1]
    owners = np.repeat(np.arange(len(query)), width)
    rows = ranked.positions.reshape(-1)
    return _matches(
        look.by,
        gallery,
        ranked.distances.reshape(-1),
        offsets=np.arange(len(query) + 1) * width,
        rows=rows,
        distances=paired_distances(query, codes[rows], owners),
    )


def rank_list(
    query: Codes,
    look: SecondLook,
    found: Matches,
    gallery: Codes | Vectors,
    *,
    k: int | None,
    order: npt.NDArray[np.uint64] | None = None,
) -> Matches:
    """Return rows that a plain search found, the nearest k by the other distance first.

    Args:
        query: packed codes (q, B).
        look: their weights.
        found: the answers to the queries.
        gallery: the codes of all rows, (n, B), or their vectors, (n, K), as `look` is by.
        k: at most this many rows per query; None for all.
        order: uint64 by row; ties go to the smaller one. Default: the row.
    """
    owners = np.repeat(np.arange(len(query)), np.diff(found.offsets))
    measure = paired_asymmetric_distances if look.by == "asymmetric" else paired_vector_distances
    values = measure(query, look.weights, gallery, owners, rows=found.rows)
    best = _nearest(values, found, k, order)
    sizes = np.bincount(owners[best], minlength=len(query))
    return _matches(
        look.by,
        gallery,
        values[best],
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        rows=found.rows[best],
        distances=found.distances[best],
    )


def _matches(
    by: str, gallery: Codes | Vectors, values: npt.NDArray[Any], **plain: npt.NDArray[Any]
) -> Matches:
    """Return matches with their other distances, given as whole numbers."""
    if by == "asymmetric":
        return Matches(**plain, asymmetric=values / ONE)
    return Matches(**plain, vector_distances=in_bits(values, gallery))


def _nearest(
    values: npt.NDArray[Any],
    found: Matches,
    k: int | None,
    order: npt.NDArray[np.uint64] | None,
) -> npt.NDArray[np.int64]:
    """Return the places of each query's k smallest values, ordered by (value, order)."""
    best = [np.empty(0, np.int64)]
    for start, stop in pairwise(found.offsets.tolist()):
        own = values[start:stop]
        near = np.arange(stop - start)
        if k is not None and k < len(own):
            near = np.flatnonzero(own <= np.partition(own, k - 1)[k - 1])
        rows = found.rows[start + near]
        ranks = rows if order is None else order[rows]
        best.append(start + near[np.lexsort((ranks, own[near]))[:k]])
    return np.concatenate(best)


def rank_hits(
    query: Codes,
    weights: Weights,
    hits: Sequence[Hit],
    items: Mapping[str, IndexItem],
    modality: str,
) -> list[Hit]:
    """Return the hits of one query with asymmetric distances, ordered by (that, id).

    Args:
        query: its packed code (1, B).
        weights: uint16 (1, bits).
        hits: what a plain search found.
        items: their items by id; what was deleted meanwhile is left out.
        modality: whose codes were searched.
    """
    there = [hit for hit in hits if hit.id in items and modality in items[hit.id].codes]
    if not there:
        return []
    codes = np.stack([items[hit.id].codes[modality] for hit in there])
    owners = np.zeros(len(there), np.int64)
    values = paired_asymmetric_distances(query, weights, codes, owners) / ONE
    ranked = [
        replace(hit, asymmetric=value) for hit, value in zip(there, values.tolist(), strict=True)
    ]
    return sorted(ranked, key=lambda hit: (hit.asymmetric, hit.id))
