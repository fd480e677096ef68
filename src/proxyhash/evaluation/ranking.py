"""What lies at each Hamming distance from each query: the ranking, without sorting anything.

Codes of K bits have K+1 distances, so a ranking is K+1 groups of ties. Every metric of this room
follows from how many items each group has and how many labels they share with the query. Counting
that is one pass over the gallery a query: O(n) time, and memory for the counts alone.
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

_QUERIES = 16  # queries that walk over one tile of the gallery together
_BLOCK_BYTES = 48 * 2**20


@dataclass(frozen=True)
class Tally:
    """Gallery items by Hamming distance, for each of q queries and for distances 0 to K.

    Attributes:
        items: int64 (q, K+1), how many items lie at each distance.
        relevant: int64 (q, K+1), how many of them share a label with the query.
        shared: int64 (q, K+1), the sum of their numbers of shared labels.
        gain: float64 (q, K+1), the sum of their gains.
        grades: int64 (q, G+1), how many items share 0, 1, ..., G labels, at any distance.
        gains: float64 (G+1,), what an item with that many shared labels is worth.
    """

    items: Counts
    relevant: Counts
    shared: Counts
    gain: Floats
    grades: Counts
    gains: Floats

    @property
    def has_relevant(self) -> npt.NDArray[np.bool_]:
        """Which queries have anything relevant in the gallery, bool (q,)."""
        return np.asarray(self.relevant.sum(axis=1) > 0)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Query codes and a gallery ordered by their Hamming distance to each.

    Attributes:
        query: packed codes, uint8 (q, B).
        gallery: packed codes, uint8 (n, B).
        query_labels: bool (q, C).
        gallery_labels: bool (n, C).
        bits: the code length K.
        threads: how many threads count; default all cores.

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
                f"{self.gallery_labels.shape[1]}; they must be the same classes"
            )

    def tally(
        self,
        rows: slice = slice(None),
        *,
        graded: bool = True,
        gain: Literal["exponential", "linear"] = "exponential",
    ) -> Tally:
        """Count the gallery by distance and number of shared labels, for some of the queries.

        Beside the result it takes 12 q (K+1) (G+1) bytes, where G is the largest number of labels
        of a query, or 1 when not graded.

        Args:
            rows: which queries.
            graded: False when only `items` and `relevant` are needed: sharing several labels then
                counts as sharing one.
            gain: what s shared labels are worth: 2^s - 1, or s.
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
        """Yield ranges of queries whose tally fits in about 150 MB; one empty one for no query."""
        cell = 4 * (self.bits + 1) * (self._most_labels + 1 if graded else 2)
        size = max(_QUERIES, min(1024, _BLOCK_BYTES // cell))
        for start in range(0, max(1, len(self.query)), size):
            yield slice(start, start + size)

    def stable_precision_sums(
        self, counts: Tally, rows: slice = slice(None), *, cutoff: int | None = None
    ) -> Floats:
        """Return, for items ranked by (distance, gallery position), float64 (q, 2).

        Column 0 is the sum of the precisions at the relevant items among the first `cutoff`,
        column 1 the number of those items.

        Args:
            counts: the tally of the same queries.
            rows: which queries.
            cutoff: how much of the ranking to look at; None for all.
        """
        query, sets = as_words(self.query)[rows], self._query_sets[rows]
        gallery = as_words(self.gallery)
        # Where each group of ties begins, and how many relevant items come before it.
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
    """Return multi-hot labels as sets of bits, uint64 (n, at least 1), in no particular order."""
    packed = np.packbits(labels, axis=1)
    width = max(1, -(-packed.shape[1] // 8)) * 8
    padded = np.zeros((len(labels), width), np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64)
