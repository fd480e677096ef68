"""The engine that compares every code with the query."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from proxyhash.codes.kernels import run_blocks
from proxyhash.index.engines.arguments import (
    NO_MASK,
    CodeRows,
    SearchArguments,
    check_known,
    read_search,
)
from proxyhash.index.engines.base import (
    Matches,
    join_queries,
    read_header,
    register_engine,
    write_header,
)
from proxyhash.index.engines.bounded_heap import (
    as_matches,
    heaps_as_matches,
    merge_heaps,
    nearest_entries,
    sort_queries,
)
from proxyhash.index.engines.scan.kernels import (
    collect_some,
    collect_within,
    count_within,
    sample_nearest,
    scan_nearest,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

    import numpy.typing as npt

    from proxyhash.codes import Codes

__all__ = ["ScanEngine", "scan"]

# How much a thread does between two looks at Ctrl-C, in words compared: about a tenth of a second.
_UNIT_WORDS = 2**29
_UNIT_QUERIES = 64
# Rows of one query are spread over threads where waking them takes less than the scan.
_SPLIT_WORDS = 2**20
_FEW_QUERIES = 8
# From this k, and this part of the allowed rows, on a heap takes longer than counting distances.
_LARGE_K, _LARGE_PART = 256, 64
# From this k on a sample of the rows tells about how far the k-th is, so that hardly more
# than k rows are collected. The sample is to hold so many of the k; more of its rows are looked
# at, by so many standard deviations.
_SAMPLED_K, _SAMPLE, _DEVIATIONS = 128, 24, 3
# Rows that are collected, at most: so many times k for one query, and of all queries at a time.
_ROOM, _MOST_COLLECTED = 4, 2**23
# Where fewer rows than this part of all are allowed, copying them first is faster.
_MASKED_PART = 8


@register_engine
class ScanEngine:
    """Compares every code: exact, with nothing to build and no memory beside the codes.

    Attributes:
        bits: the code length.
        count: how many rows it holds.
    """

    name: ClassVar[str] = "scan"
    exact: ClassVar[bool] = True
    checks_saved: ClassVar[bool] = True

    def __init__(self, rows: CodeRows) -> None:
        self._rows = rows
        self.bits = rows.bits
        self.count = rows.count

    @property
    def nbytes(self) -> int:
        """Memory of the codes and the order, in bytes."""
        return self._rows.nbytes

    @classmethod
    def build(
        cls, codes: Codes, *, bits: int, order: npt.NDArray[np.uint64] | None = None, **options: Any
    ) -> Self:
        """Return the engine over codes uint8 (n, ceil(bits/8)); see `Engine.build`."""
        check_known(cls.name, options)
        return cls(CodeRows(codes, bits=bits, order=order))

    def search(
        self,
        query: Codes,
        *,
        k: int | None,
        radius: int | None = None,
        mask: npt.NDArray[np.bool_] | None = None,
        threads: int | None = None,
    ) -> Matches:
        """Return the nearest rows of each query; see `Engine.search`."""
        arguments = read_search(
            query, bits=self.bits, count=self.count, k=k, radius=radius, mask=mask, threads=threads
        )
        return scan(self._rows, arguments)

    def save(self, folder: Path) -> None:
        """Write the engine's header; see `Engine.save`."""
        write_header(folder, engine=self.name, bits=self.bits, count=self.count)

    @classmethod
    def load(
        cls, folder: Path, codes: Codes, *, order: npt.NDArray[np.uint64] | None = None
    ) -> Self:
        """Return the engine over the same codes and order; see `Engine.load`."""
        header = read_header(folder, engine=cls.name, codes=codes)
        return cls(CodeRows(codes, bits=header["bits"], order=order))


def scan(rows: CodeRows, arguments: SearchArguments) -> Matches:
    """Return the nearest rows of each query by comparing all of them."""
    if _MASKED_PART * arguments.allowed < rows.count:
        return _scan_allowed(rows, arguments)
    k, allowed = arguments.k, arguments.allowed
    if fits_heap(arguments):
        return _Scan(rows, arguments).nearest()
    if k == allowed:
        return _Scan(rows, arguments).within()
    return _Scan(rows, arguments).many()


def fits_heap(arguments: SearchArguments) -> bool:
    """Whether k cuts something off and is so small that a heap is the fastest way to do it."""
    k, allowed = arguments.k, arguments.allowed
    return k < allowed and (k <= _LARGE_K or k * _LARGE_PART <= allowed)


def _scan_allowed(rows: CodeRows, arguments: SearchArguments) -> Matches:
    """Scan a copy of the few rows that the mask allows."""
    kept = np.flatnonzero(arguments.mask)
    order = rows.order[kept] if rows.order.size else None
    few = CodeRows(rows.codes[kept], bits=rows.bits, order=order)
    found = scan(few, replace(arguments, mask=NO_MASK))
    return Matches(found.offsets, kept[found.rows], found.distances)


class _Scan:
    """One search: its parts (some queries, some rows) are spread over threads.

    Many queries are split among the threads, the rows of few queries are.
    """

    def __init__(self, rows: CodeRows, arguments: SearchArguments) -> None:
        self._rows = rows
        self._arguments = arguments
        queries, words, threads = len(arguments.query), rows.words.size, arguments.threads
        few = queries < _FEW_QUERIES * threads and words >= _SPLIT_WORDS
        self._parts = threads if few else 1
        self._edges = np.linspace(0, rows.count, self._parts + 1).astype(np.int64)
        share = queries if few else -(-queries // threads)
        in_time = _UNIT_WORDS * self._parts // max(1, words)
        self._block = max(1, min(share, in_time, _UNIT_QUERIES))
        self._radii = np.full(queries, arguments.radius, np.int64)

    def nearest(self) -> Matches:
        """Return the nearest k rows of each query, within the radius."""
        if self._arguments.k < _SAMPLED_K:
            return heaps_as_matches(*self._nearest(self._radii))
        given, queries = self._arguments, np.arange(len(self._arguments.query))
        groups = np.array_split(queries, 1 + _ROOM * given.k * len(queries) // _MOST_COLLECTED)
        if len(groups) == 1:
            return self._sampled_nearest()
        parts = [(few, _Scan(self._rows, given.of(few))) for few in groups if len(few)]
        return join_queries([(few, scan._sampled_nearest()) for few, scan in parts])

    def _sampled_nearest(self) -> Matches:
        """Return the nearest k rows, collected within a radius that a sample tells.

        Where the sample was wrong, or too many rows are equally near, heaps are filled instead.
        """
        given, rows = self._arguments, self._rows
        radii = self._sampled_radii()
        room = _ROOM * given.k
        entries = np.empty((self._parts, len(given.query), room), np.uint64)
        sizes = np.empty(entries.shape[:2], np.int64)
        heaps = np.empty((len(given.query), given.k), np.uint64)

        def work(part: int, queries: slice, first: int, last: int) -> None:
            collect_some(
                given.query[queries],
                rows.words,
                first,
                last,
                radii[queries],
                given.mask,
                entries[part, queries],
                sizes[part, queries],
            )

        self._run(work)
        enough = (sizes.sum(axis=0) >= given.k) & (sizes <= room).all(axis=0)

        def arrange(start: int, stop: int) -> None:
            for query in np.flatnonzero(enough[start:stop]) + start:
                parts = [entries[part, query, : sizes[part, query]] for part in range(self._parts)]
                heaps[query] = nearest_entries(np.concatenate(parts), rows.order, given.k)

        run_blocks(arrange, len(enough), threads=given.threads)
        filled = np.full(len(enough), given.k)
        if not enough.all():
            rest = _Scan(rows, given.of(np.flatnonzero(~enough)))
            heaps[~enough], filled[~enough] = rest._nearest(rest._radii)
        return heaps_as_matches(heaps, filled)

    def _sampled_radii(self) -> npt.NDArray[np.int64]:
        """Return how far each query's nearest k rows probably are, at most."""
        given, rows = self._arguments, self._rows
        every = given.k // _SAMPLE
        near = _SAMPLE + int(_DEVIATIONS * _SAMPLE**0.5)
        radii = self._radii.copy()

        def work(start: int, stop: int) -> None:
            part = slice(start, stop)
            heaps = np.empty((stop - start, near), np.uint64)
            sample_nearest(given.query[part], rows.words, every, radii[part], given.mask, heaps)

        run_blocks(work, len(radii), threads=given.threads, block=self._block)
        return radii

    def _nearest(
        self, radii: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        """Return the nearest k rows of each query within its radius: heaps (q, k), sizes (q,)."""
        given, rows = self._arguments, self._rows
        heaps = np.empty((self._parts, len(given.query), given.k), np.uint64)
        sizes = np.zeros(heaps.shape[:2], np.int64)

        def work(part: int, queries: slice, first: int, last: int) -> None:
            scan_nearest(
                given.query[queries],
                rows.words,
                first,
                last,
                radii[queries],
                given.mask,
                rows.order,
                heaps[part, queries],
                sizes[part, queries],
            )

        self._run(work)
        merge_heaps(heaps, sizes, rows.order)
        return heaps[0], sizes[0]

    def within(self, radii: npt.NDArray[np.int64] | None = None) -> Matches:
        """Return all rows within each query's radius, or within the search's."""
        given, rows = self._arguments, self._rows
        radii = self._radii if radii is None else radii
        counts = self._counts(radii)
        places = np.concatenate([[0], np.cumsum(counts.T)])
        entries = np.empty(places[-1], np.uint64)
        starts = places[:-1].reshape(counts.T.shape).T.copy()
        offsets = places[:: self._parts].copy()

        def work(part: int, queries: slice, first: int, last: int) -> None:
            collect_within(
                given.query[queries],
                rows.words,
                first,
                last,
                radii[queries],
                given.mask,
                entries,
                starts[part, queries],
            )

        def arrange(start: int, stop: int) -> None:
            sort_queries(entries, offsets[start : stop + 1], rows.order)

        self._run(work)
        run_blocks(arrange, len(given.query), threads=given.threads)
        return as_matches(entries, np.diff(offsets))

    def many(self) -> Matches:
        """Return the nearest k rows of each query where a heap of them would be slow.

        Looks for the smallest radius with k rows in it by halving, and cuts what is within.
        """
        k = self._arguments.k
        low, high = np.zeros_like(self._radii), self._radii
        while (low < high).any():
            middle = (low + high) // 2
            enough = self._counts(middle).sum(axis=0) >= k
            high = np.where(enough, middle, high)
            low = np.where(enough, low, np.minimum(middle + 1, high))
        found = self.within(high)
        rank = np.arange(found.rows.size) - np.repeat(found.offsets[:-1], np.diff(found.offsets))
        kept = rank < k
        sizes = np.minimum(np.diff(found.offsets), k)
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        return Matches(offsets, found.rows[kept], found.distances[kept])

    def _counts(self, radii: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return how many rows of each part are within each query's radius, (parts, q)."""
        given, rows = self._arguments, self._rows
        counts = np.empty((self._parts, len(given.query)), np.int64)

        def work(part: int, queries: slice, first: int, last: int) -> None:
            count_within(
                given.query[queries],
                rows.words,
                first,
                last,
                radii[queries],
                given.mask,
                counts[part, queries],
            )

        self._run(work)
        return counts

    def _run(self, work: Callable[[int, slice, int, int], None]) -> None:
        """Call `work(part, queries, first row, last row)` for all queries and parts."""
        units = [
            (part, slice(start, start + self._block))
            for start in range(0, len(self._arguments.query), self._block)
            for part in range(self._parts)
        ]

        def run(start: int, stop: int) -> None:
            for part, queries in units[start:stop]:
                work(part, queries, self._edges[part], self._edges[part + 1])

        run_blocks(run, len(units), threads=self._arguments.threads, block=1)
