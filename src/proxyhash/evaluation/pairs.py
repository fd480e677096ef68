"""Recall of an item's other half: whether an image finds its own text among all, and back.

The candidates are the other halves of all queries that have both, as in the image-text retrieval
literature (its "1K test set" is 1,000 queries). Labels play no part.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from proxyhash.codes import distances
from proxyhash.data.modalities import MODALITIES
from proxyhash.evaluation.direction import directions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from proxyhash.codes import CodeFile, Codes
    from proxyhash.data import Collection, Modality

__all__ = [
    "PAIR_AT",
    "PairDirection",
    "PairEvaluation",
    "PairRanks",
    "evaluate_pairs",
    "pair_ranks",
    "ranks_among",
]

PAIR_AT = (1, 5, 10)
"""The N of recall at N."""

_BLOCK = 512  # queries whose distances are in memory at once


@dataclass(frozen=True)
class PairRanks:
    """Place of each query's own half among the candidates.

    Attributes:
        nearer: number of candidates that are nearer than the own half, int64 (q,).
        tied: number of candidates at its distance, itself included, int64 (q,).
    """

    nearer: npt.NDArray[np.int64]
    tied: npt.NDArray[np.int64]

    @property
    def expected(self) -> npt.NDArray[np.float64]:
        """The rank of the own half, from 1: the mean over all orders of ties, float64 (q,)."""
        return np.asarray(self.nearer + (self.tied + 1) / 2)

    def recall_at(self, n: int) -> float:
        """Return the share of queries whose own half is among the first n, expected over ties."""
        return float(np.clip((n - self.nearer) / self.tied, 0, 1).mean())

    @property
    def mrr(self) -> float:
        """The mean of 1 / rank of the own half, expected over ties."""
        sums = np.concatenate(
            [[0.0], np.cumsum(1 / np.arange(1, (self.nearer + self.tied).max() + 1))]
        )
        return float(((sums[self.nearer + self.tied] - sums[self.nearer]) / self.tied).mean())

    @property
    def median(self) -> float:
        """The median of the expected ranks."""
        return float(np.median(self.expected))


def pair_ranks(query: Codes, candidates: Codes) -> PairRanks:
    """Return where candidate i stands when query i ranks all candidates by Hamming distance.

    Args:
        query: packed codes, uint8 (q, B), at least one.
        candidates: packed codes, uint8 (q, B); row i is the other half of query i.
    """
    return ranks_among(lambda rows: distances(query[rows], candidates), len(query))


def ranks_among(distances_of: Callable[[slice], npt.NDArray[Any]], count: int) -> PairRanks:
    """Return where candidate i stands when query i ranks all candidates by any distance.

    Args:
        distances_of: returns the distances of some queries to all candidates, (b, q).
        count: number of queries, and of candidates.
    """
    nearer, tied = (np.empty(count, np.int64) for _ in range(2))
    for start in range(0, count, _BLOCK):
        rows = slice(start, start + _BLOCK)
        found = distances_of(rows)
        own = found[np.arange(len(found)), start + np.arange(len(found))][:, None]
        nearer[rows] = (found < own).sum(axis=1)
        tied[rows] = (found == own).sum(axis=1)
    return PairRanks(nearer, tied)


@dataclass(frozen=True)
class PairDirection:
    """Figures of one direction, expected over ties.

    Attributes:
        recall_at: share of queries whose own half is among the first N, by N.
        median_rank: median over the queries of the rank of the own half, from 1.
        ranks: those of the single queries.
    """

    recall_at: Mapping[int, float]
    median_rank: float
    ranks: PairRanks

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values, without single queries."""
        recall = {str(n): value for n, value in self.recall_at.items()}
        return {"recall_at": recall, "median_rank": self.median_rank}


@dataclass(frozen=True)
class PairEvaluation:
    """Recall of the other half, between all modalities of the codes.

    Attributes:
        candidates: number of queries, and of candidates that each of them ranks, by direction.
        repeated: number of candidates whose content is that of another one, by modality: the same
            text but for case and blanks, or the same file. Each counts as right for its own query
            alone, so that they bound the recall.
        directions: a `PairDirection` by direction.
    """

    candidates: Mapping[str, int]
    repeated: Mapping[Modality, int]
    directions: Mapping[str, PairDirection]

    def to_dict(self) -> dict[str, Any]:
        """Return protocol and figures as JSON values."""
        return {
            "protocol": {
                "candidates": "the other halves of the queries",
                "ties": "expected",
                "repeated": dict(self.repeated),
            },
            "directions": {
                name: {"candidates": self.candidates[name], **each.to_dict()}
                for name, each in self.directions.items()
            },
        }


def evaluate_pairs(
    codes: CodeFile,
    queries: npt.NDArray[np.int64],
    collection: Collection,
    *,
    at: Sequence[int] = PAIR_AT,
) -> PairEvaluation | None:
    """Return how well the queries find their other halves; None where fewer than two have two.

    Args:
        codes: the codes of the whole collection.
        queries: positions of the queries, int64 (q,).
        collection: the items, in the order of the codes.
        at: the N of recall at N; those beyond the number of candidates are left out.
    """
    candidates, directions, repeated = {}, {}, {}
    for name, (asked, searched) in directions_of(codes.modalities).items():
        rows = codes.having(searched, codes.having(asked, queries))
        if asked == searched or len(rows) < 2:
            continue
        ranks = pair_ranks(codes.as_queries(asked)[rows], codes.of(searched)[rows])
        recall = {n: ranks.recall_at(n) for n in at if n <= len(rows)}
        directions[name] = PairDirection(recall, ranks.median, ranks)
        candidates[name] = len(rows)
        if searched in collection.modalities:
            repeated[searched] = _repeated(collection, searched, rows)
    return PairEvaluation(candidates, repeated, directions) if directions else None


def _repeated(collection: Collection, modality: Modality, rows: npt.NDArray[np.int64]) -> int:
    sources = collection.sources(modality)
    contents = [str(sources[row]) for row in rows.tolist()]
    if not MODALITIES[modality].is_file:
        contents = [" ".join(each.casefold().split()) for each in contents]
    counts = Counter(contents)
    return sum(counts[each] > 1 for each in contents)
