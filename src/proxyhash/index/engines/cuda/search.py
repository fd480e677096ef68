"""One search of a shard: a radius from a sample, everything within it, and the proof.

The radius at which the k-th neighbor should be is guessed from a sample of the rows. Every row
within it is collected into a buffer, and only those are sorted. At least k rows prove that the
guess was wide enough; where there are fewer, the distances of all rows are counted, which gives the
exact radius. Rows are taken in as many pieces as the buffer needs: one that overflows is taken
again in smaller ones, and the k nearest of each piece narrow the radius for the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from proxyhash.index.engines.base import Matches, join_queries
from proxyhash.index.engines.cuda.devices import interpreted
from proxyhash.index.engines.cuda.kernels import (
    DISTANCE_SHIFT,
    QUERY_SHIFT,
    ROW_MASK,
    collect,
    count_distances,
)
from proxyhash.index.engines.segmented.segments import merge_matches

if TYPE_CHECKING:
    import numpy.typing as npt

    from proxyhash.index.engines.cuda.shard import Block, Mask, Shard

__all__ = ["Layout", "nothing", "search_shard"]

_MOST_QUERIES = 1 << (63 - QUERY_SHIFT)  # that an entry tells apart
_MOST_DISTANCES = 1 << (QUERY_SHIFT - DISTANCE_SHIFT)
_FEW_PART = 64  # of the buffer: if that holds all rows for each query, no radius is guessed
_DEVIATIONS = 3  # standard deviations that the guess is wider than expected
_LAST = np.iinfo(np.int64).max
_MOST_ROWS = 2**48
_FUSION = True  # of floating-point numbers, of which there are none; unsaid, Triton 3.9 warns


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes of the programs that collect rows; which are fastest depends on the GPU.

    Attributes:
        rows: that a program compares at a time, a power of 2.
        tile: queries that it compares them with at a time, a power of 2.
        rounds: blocks of rows per program.
        share: queries per program.
    """

    rows: int
    tile: int
    rounds: int
    share: int

    @classmethod
    def of(cls, *, queries: int, count: int) -> Layout:
        """Return the sizes for a number of queries and of rows."""
        if interpreted():  # an operation on many numbers takes hardly longer than on few
            rows, tile = (1 << (size - 1).bit_length() for size in (count, queries))
            return cls(rows=min(rows, 1024), tile=min(tile, 32), rounds=1, share=_MOST_QUERIES)
        if queries == 1:  # so little to do with a block that starting a program for it takes longer
            return cls(rows=256, tile=1, rounds=min(32, 1 + count // 2**21), share=1)
        return cls(rows=128, tile=4, rounds=1, share=128)


def search_shard(
    shard: Shard,
    query: npt.NDArray[np.signedinteger],
    *,
    k: int | None,
    radius: int,
    mask: npt.NDArray[np.bool_] | None,
    room: int,
    layout: Layout | None = None,
) -> Matches:
    """Return the nearest rows of each query, counted within the shard.

    Args:
        shard: the rows and their device.
        query: the queries as signed words, (q, width).
        k: at most this many rows per query; None for all within the radius.
        radius: no row farther than this, in bits.
        mask: bool (n,), or None where every row may be returned.
        room: entries of the buffer.
        layout: sizes of the programs; default those for the number of queries.
    """
    if not len(query) or not shard.count:
        return nothing(len(query))
    # So many that their neighbors fill a part of the buffer; a row has place for all of them.
    size = max(1, min(_MOST_QUERIES, room, room // (4 * (k or 1))))
    with shard.turn, shard.here():
        allowed = None if mask is None else shard.pack(mask)
        parts = []
        for start in range(0, len(query), size):
            some = query[start : start + size]
            sizes = layout or Layout.of(queries=len(some), count=shard.count)
            search = _Search(shard, some, k=k, radius=radius, mask=allowed, room=room, layout=sizes)
            parts.append((np.arange(start, start + len(some)), search.run()))
    return join_queries(parts)


def nothing(queries: int) -> Matches:
    """Return the answer to queries that find no row."""
    return Matches(np.zeros(queries + 1, np.int64), np.empty(0, np.int64), np.empty(0, np.uint16))


class _Search:
    """The search of some queries, no more than an entry tells apart; see `search_shard`."""

    def __init__(
        self,
        shard: Shard,
        query: npt.NDArray[np.signedinteger],
        *,
        k: int | None,
        radius: int,
        mask: Mask | None,
        room: int,
        layout: Layout,
    ) -> None:
        self._shard = shard
        self._query = shard.put(query)
        self._k, self._radius = k, radius
        self._mask = mask
        self._layout = layout
        self._entries = torch.empty(room, dtype=torch.int64, device=shard.device)

    def run(self) -> Matches:
        """Return the nearest rows of each query."""
        k, sample, queries = self._k, self._shard.sample, len(self._query)
        if queries * self._shard.count <= len(self._entries) // _FEW_PART:
            return self._sweep(np.arange(queries), np.full(queries, self._radius), 1.0)
        if self._mask is not None:
            sample = sample._replace(mask=self._shard.put(self._mask.sample))
        every = np.arange(queries)
        sampled = np.cumsum(self._count(every, sample), axis=1)
        radii = np.full(queries, self._radius)
        if k is not None:
            share = sample.size / self._shard.count
            radii = np.minimum(radii, _reach(sampled, _expected(k, share)))
        # Rows to collect for each row that is looked at, of all queries.
        density = float(sampled[every, radii].sum()) / sample.size
        found = self._sweep(every, radii, density)
        if k is None:
            return found
        sizes = np.diff(found.offsets)
        short = np.flatnonzero((sizes < k) & (radii < self._radius))
        if not short.size:
            return found
        counted = np.zeros((len(short), sampled.shape[1]), np.int64)
        for block in self._shard.blocks(self._mask):
            counted += self._count(short, block)
        counted = np.cumsum(counted, axis=1)
        radii = np.minimum(self._radius, _reach(counted, k))
        density = float(counted[np.arange(len(short)), radii].sum()) / self._shard.count
        enough = np.setdiff1d(every, short)
        kept = np.repeat(np.isin(every, enough), sizes)
        proved = Matches(
            np.concatenate([[0], np.cumsum(sizes[enough])]),
            found.rows[kept],
            found.distances[kept],
        )
        return join_queries([(enough, proved), (short, self._sweep(short, radii, density))])

    def _sweep(
        self, which: npt.NDArray[np.int64], radii: npt.NDArray[np.int64], density: float
    ) -> Matches:
        """Return the first k rows within each query's radius, or all of them, exactly."""
        query, room = self._query[self._shard.put(which)], len(self._entries)
        limits, ties = np.full(len(which), _LAST), 0
        radii, step = radii.copy(), max(1, int(min(_MOST_ROWS, room / max(2 * density, 1e-9))))
        parts = [nothing(len(which))]
        for block in self._shard.blocks(self._mask):
            start = 0
            while start < block.size:
                stop = min(start + step, block.size)
                bounds = self._shard.put(radii.astype(np.int32)), self._shard.put(limits)
                entries = self._collect(query, bounds, ties, block, range(start, stop))
                if entries is None:
                    step = max(1, (stop - start) // 4)
                    continue
                start, step = stop, step if 4 * len(entries) > room else 2 * step
                parts.append(self._arrange(entries, block, len(which)))
                if self._k is None:
                    continue
                parts = [self._merge(parts)]
                full = np.flatnonzero(np.diff(parts[0].offsets) == self._k)
                if not full.size:
                    continue
                last = parts[0].offsets[full + 1] - 1
                radii[full] = parts[0].distances[last]
                if not self._shard.order.size:
                    limits[full], ties = parts[0].rows[last], 1
                elif block.order is not None:
                    limits[full], ties = self._shard.ranks(parts[0].rows[last]), 2
        return self._merge(parts)

    def _merge(self, parts: list[Matches]) -> Matches:
        """Return the first k rows of each query, or all rows, of several answers."""
        limit, order = self._k or _MOST_ROWS, self._shard.order
        while len(parts) > 1:
            pairs = zip(parts[::2], parts[1::2], strict=False)
            merged = [merge_matches(*pair, order=order, k=limit) for pair in pairs]
            parts = merged + parts[len(parts) & ~1 :]
        return parts[0]

    def _count(self, which: npt.NDArray[np.int64], block: Block) -> npt.NDArray[np.int64]:
        """Return how many rows of a block are at each distance of some queries, (q, distances)."""
        shard, layout = self._shard, self._layout
        bins = max(128, 1 << (shard.bits + 1).bit_length())
        counts = torch.zeros((len(which), bins), dtype=torch.int64, device=shard.device)
        tile = layout.tile if interpreted() else 1  # for a GPU, few counters are faster
        rows = layout.rows if interpreted() else 1024
        count_distances[-(-block.size // rows), -(-len(which) // tile)](
            block.codes,
            block.codes if block.mask is None else block.mask,
            self._query[shard.put(which)],
            counts,
            block.size,
            len(which),
            block.row_step,
            block.word_step,
            WORDS=self._query.shape[1],
            MASKED=block.mask is not None,
            ASM=shard.native,
            BINS=bins,
            TILE=tile,
            BLOCK=rows,
            num_warps=4,
            enable_fp_fusion=_FUSION,
        )
        found: npt.NDArray[np.int64] = counts[:, : shard.bits + 1].cpu().numpy()
        return found

    def _collect(
        self,
        query: torch.Tensor,
        bounds: tuple[torch.Tensor, torch.Tensor],
        ties: int,
        block: Block,
        rows: range,
    ) -> torch.Tensor | None:
        """Return entries of the rows that are within the bounds, in any order; None for too many.

        Args:
            query: the queries as signed words, (q, width).
            bounds: their radii, int32 (q,), and the last rank that counts there, int64 (q,).
            ties: whether and by what rows are ranked, as the kernel takes it.
            block: where the rows are.
            rows: which ones.
        """
        layout, asked = self._layout, len(query)
        size = torch.zeros(1, dtype=torch.int64, device=self._shard.device)
        blocks = -(-len(rows) // layout.rows)
        collect[-(-blocks // layout.rounds), -(-asked // layout.share)](
            block.codes,
            block.codes if block.mask is None else block.mask,
            block.codes if block.order is None else block.order,
            query,
            *bounds,
            self._entries,
            size,
            rows.start,
            rows.stop,
            block.first,
            asked,
            layout.rounds,
            layout.share,
            len(self._entries),
            block.row_step,
            block.word_step,
            WORDS=query.shape[1],
            MASKED=block.mask is not None,
            TIES=ties,
            ASM=self._shard.native,
            TILE=layout.tile,
            BLOCK=layout.rows,
            num_warps=1,
            enable_fp_fusion=_FUSION,
        )
        found = int(size.item())
        return None if found > len(self._entries) else self._entries[:found]

    def _arrange(self, entries: torch.Tensor, block: Block, queries: int) -> Matches:
        """Sort entries by (query, distance, order) and return the first k of each query."""
        if not self._shard.order.size:
            entries = entries.sort().values
        else:
            rows = entries & ROW_MASK
            if block.order is not None:
                ranks = block.order[rows - block.first]
            else:
                ranks = self._shard.put(self._shard.ranks(rows.cpu().numpy()))
            entries = entries[ranks.argsort(stable=True)]
            entries = entries[(entries >> DISTANCE_SHIFT).argsort(stable=True)]
        edges = torch.arange(queries + 1, device=entries.device) << QUERY_SHIFT
        offsets = torch.searchsorted(entries, edges)
        if self._k is not None:
            places = torch.arange(len(entries), device=entries.device)
            entries = entries[places < (offsets[:-1] + self._k)[entries >> QUERY_SHIFT]]
            offsets = torch.searchsorted(entries, edges)
        found: npt.NDArray[np.int64] = entries.cpu().numpy()
        return Matches(
            offsets.cpu().numpy(),
            found & ROW_MASK,
            ((found >> DISTANCE_SHIFT) % _MOST_DISTANCES).astype(np.uint16),
        )


def _expected(k: int, share: float) -> float:
    """Return how many of the sampled rows are surely not nearer than the k-th of all rows.

    Of the k nearest rows a sample holds k * share, give or take the root of it; a few more make up
    for the distribution of small numbers. A sample of all rows holds k.
    """
    near = k * share
    return k if share == 1 else near + _DEVIATIONS * near**0.5 + _DEVIATIONS


def _reach(counts: npt.NDArray[np.int64], wanted: float) -> npt.NDArray[np.int64]:
    """Return the smallest distance within which so many rows are, else the largest there is.

    Args:
        counts: rows within each distance, int64 (q, bits + 1).
        wanted: the number of rows.
    """
    reached: npt.NDArray[np.int64] = (counts < wanted).sum(axis=1)
    return reached.clip(max=counts.shape[1] - 1)
