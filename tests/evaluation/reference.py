"""Retrieval metrics written from their definitions, slowly, over every order of the ties."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, permutations, product
from math import log2
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.codes import pack
from proxyhash.evaluation import Ranking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Case", "ap", "every_order", "expected", "ndcg", "stable_order", "weighted_ap"]


@dataclass(frozen=True)
class Case:
    """One small retrieval problem, in bits and in packed codes."""

    query: np.ndarray
    gallery: np.ndarray
    query_labels: np.ndarray
    gallery_labels: np.ndarray

    @classmethod
    def draw(
        cls, seed: int, *, queries: int = 3, items: int = 7, bits: int = 3, classes: int = 3
    ) -> Case:
        rng = np.random.default_rng(seed)
        return cls(
            rng.integers(0, 2, (queries, bits)).astype(bool),
            rng.integers(0, 2, (items, bits)).astype(bool),
            rng.random((queries, classes)) < rng.uniform(0.1, 0.8),
            rng.random((items, classes)) < rng.uniform(0.1, 0.8),
        )

    @property
    def bits(self) -> int:
        return self.query.shape[1]

    @property
    def ranking(self) -> Ranking:
        return Ranking(
            pack(self.query), pack(self.gallery), self.query_labels, self.gallery_labels, self.bits
        )

    def distances(self, query: int) -> np.ndarray:
        return (self.query[query] != self.gallery).sum(axis=1)

    def shared(self, query: int) -> np.ndarray:
        """How many labels each gallery item shares with the query."""
        return (self.query_labels[query] & self.gallery_labels).sum(axis=1)


def stable_order(distances: np.ndarray) -> list[int]:
    """The ranking with ties in gallery order."""
    return sorted(range(len(distances)), key=lambda item: (distances[item], item))


def every_order(distances: np.ndarray) -> Iterator[list[int]]:
    """All rankings that agree with the distances."""
    order = stable_order(distances)
    groups = [list(group) for _, group in groupby(order, key=lambda item: distances[item])]
    for choice in product(*(permutations(group) for group in groups)):
        yield [item for group in choice for item in group]


def expected(
    distances: np.ndarray, worth: np.ndarray, metric: Callable[[list[int]], float]
) -> float:
    """The mean of a metric of the ranked worths over every order of the ties."""
    values = [metric([int(worth[item]) for item in order]) for order in every_order(distances)]
    return sum(values) / len(values)


def ap(ranked: list[int], *, cutoff: int | None = None, divisor: str = "hits") -> float:
    """AP@R of a ranking of shared-label counts."""
    cutoff = len(ranked) if cutoff is None else cutoff
    total = sum(worth > 0 for worth in ranked)
    hits, score = 0, 0.0
    for place, worth in enumerate(ranked[:cutoff], start=1):
        if worth:
            hits += 1
            score += hits / place
    by = {"hits": hits, "min": min(cutoff, total), "relevant": total}[divisor]
    return score / by if by else 0.0


def weighted_ap(ranked: list[int]) -> float:
    """Mean over the relevant places of the mean worth up to the place."""
    scores = [sum(ranked[: i + 1]) / (i + 1) for i, worth in enumerate(ranked) if worth]
    return sum(scores) / len(scores)


def ndcg(ranked: list[int], n: int, gain: Callable[[int], float]) -> float:
    """NDCG of the first n places."""

    def dcg(worths: list[int]) -> float:
        return sum(gain(worth) / log2(i + 2) for i, worth in enumerate(worths[:n]))

    return dcg(ranked) / dcg(sorted(ranked, reverse=True))
