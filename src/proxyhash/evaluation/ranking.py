"""Ranking of a gallery by Hamming distance, as counts per distance instead of a sorted list.

Codes of K bits have K+1 distances, so a ranking is K+1 groups of ties. Every metric follows from
the number of items in each group and the labels they share with the query. Counting takes one pass
over the gallery per query: O(n) time, and memory for the counts only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from proxyhash.codes import Codes, check_codes
from proxyhash.codes.kernels import as_words, run_blocks
from proxyhash.errors import DataError
from proxyhash.evaluation.counting import count_pairs, sum_stable_precisions

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Labels", "Ranking", "Tally", "pack_labels"]

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]

_QUERIES = 16  # queries that share one pass over a tile of the gallery
_BLOCK_BYTES = 48 * 2**20


@dataclass(frozen=True)
class Tally:
    """Counts of gallery items for each of q queries, by Hamming distance 0 to K.

    Attributes:
        items: number of items at each distance, int64 (q, K+1).
        relevant: number of them that share a label with the query, int64 (q, K+1).
        shared: total number of labels they share with the query, int64 (q, K+1).
        gain: total gain of the items, float64 (q, K+1).
        grades: number of items that share 0, 1, ..., G labels, at any distance, int64 (q, G+1).
        gains: gain of an item that shares 0, 1, ..., G labels, float64 (G+1,).
    """

    items: Counts
    relevant: Counts
    shared: Counts
    gain: Floats
    grades: Counts
    gains: Floats

    @property
    def has_relevant(self) -> npt.NDArray[np.bool_]:
        """Whether a query has relevant items in the gallery, bool (q,)."""
        return np.asarray(self.relevant.sum(axis=1) > 0)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Queries and a gallery, to be ranked by Hamming distance to each query.

    Attributes:
        query: packed codes, uint8 (q, B).
        gallery: packed codes, uint8 (n, B).
        query_labels: bool (q, C).
        gallery_labels: bool (n, C).
        bits: the code length K.
        threads: number of threads; all cores by default.

    Raises:
        DataError: codes or labels of the wrong type, width or length.
    """

    query: Codes
    gallery: Codes
    query_labels: Labels
    gallery_labels: Labels
    bits: int
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("query", "gallery"):
            codes: Codes = getattr(self, name)
            labels: Labels = getattr(self, f"{name}_labels")
            check_codes(codes, bits=self.bits, name=f"{name} codes")
            if labels.dtype != np.bool_ or labels.ndim != 2 or len(labels) != len(codes):
                raise DataError(
                    f"{name} labels must be bool of shape ({len(codes)}, classes), "
                    f"found {labels.dtype} of shape {labels.shape}"
                )
        if self.query_labels.shape[1] != self.gallery_labels.shape[1]:
            raise DataError(
                f"query labels have {self.query_labels.shape[1]} classes and gallery labels "
                f"{self.gallery_labels.shape[1]}; both need the same classes"
            )

    def tally(
        self,
        rows: slice = slice(None),
        *,
        graded: bool = True,
        gain: Literal["exponential", "linear"] = "exponential",
    ) -> Tally:
        """Count the gallery by distance and number of shared labels, for some of the queries.

        Peak memory without the result: 12 q (K+1) (G+1) bytes, where G is the largest number of
        labels of a query, or 1 when not graded.

        Args:
            rows: the queries.
            graded: False if only `items` and `relevant` are needed: several shared labels then
                count as one.
            gain: gain of s shared labels: 2^s - 1, or s.
        """
        grades = np.arange(self._most_labels + 1 if graded else 2)
        query, sets = as_words(self.query)[rows], self._query_sets[rows]
        gallery = as_words(self.gallery)
        counts = np.zeros((len(query), self.bits + 1, len(grades)), np.uint32)

        def work(start: int, stop: int) -> None:
            part = slice(start, stop)
            count_pairs(query[part], gallery, sets[part], self._gallery_sets, counts[part])

        run_blocks(work, len(query), threads=self.threads, block=_QUERIES)
        gains = np.exp2(grades) - 1 if gain == "exponential" else grades.astype(np.float64)
        return Tally(
            items=counts.sum(axis=2, dtype=np.int64),
            relevant=counts[:, :, 1:].sum(axis=2, dtype=np.int64),
            shared=counts @ grades,
            gain=counts @ gains,
            grades=counts.sum(axis=1, dtype=np.int64),
            gains=gains,
        )

    def blocks(self, *, graded: bool) -> Iterator[slice]:
        """Yield ranges of queries whose tally takes about 150 MB; an empty one without queries."""
        cell = 4 * (self.bits + 1) * (self._most_labels + 1 if graded else 2)
        size = max(_QUERIES, min(1024, _BLOCK_BYTES // cell))
        for start in range(0, max(1, len(self.query)), size):
            yield slice(start, start + size)

    def stable_precision_sums(
        self, counts: Tally, rows: slice = slice(None), *, cutoff: int | None = None
    ) -> Floats:
        """Return sums for items ranked by (distance, gallery position), float64 (q, 2).

        Column 0 is the sum of the precisions at the relevant items among the first `cutoff`,
        column 1 the number of those items.

        Args:
            counts: the tally of the same queries.
            rows: the queries.
            cutoff: number of nearest items; None for all.
        """
        query, sets = as_words(self.query)[rows], self._query_sets[rows]
        gallery = as_words(self.gallery)
        # The first place of each group of ties, and the number of relevant items before it.
        places = np.cumsum(counts.items, axis=1) - counts.items
        hits = np.cumsum(counts.relevant, axis=1) - counts.relevant
        limit = len(gallery) if cutoff is None else cutoff
        sums = np.zeros((len(query), 2))

        def work(start: int, stop: int) -> None:
            part = slice(start, stop)
            sum_stable_precisions(
                query[part],
                gallery,
                sets[part],
                self._gallery_sets,
                places[part],
                hits[part],
                limit,
                sums[part],
            )

        run_blocks(work, len(query), threads=self.threads, block=_QUERIES)
        return sums

    @cached_property
    def _most_labels(self) -> int:
        return int(self.query_labels.sum(axis=1).max(initial=1))

    @cached_property
    def _query_sets(self) -> npt.NDArray[np.uint64]:
        return pack_labels(self.query_labels)

    @cached_property
    def _gallery_sets(self) -> npt.NDArray[np.uint64]:
        return pack_labels(self.gallery_labels).T.copy()


def pack_labels(labels: Labels) -> npt.NDArray[np.uint64]:
    """Return multi-hot labels as sets of bits, uint64 (n, at least 1), in arbitrary bit order."""
    packed = np.packbits(labels, axis=1)
    width = max(1, -(-packed.shape[1] // 8)) * 8
    padded = np.zeros((len(labels), width), np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64)
