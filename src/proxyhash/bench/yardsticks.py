"""Measuring the yardsticks of one space, as one cell of a suite."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.bench.quantizers import Bits, Decoded, quantize
from proxyhash.bench.spaces import (
    canonical_space,
    embedding_space,
    output_space,
    share_space,
    with_queries,
)
from proxyhash.bench.suite import CANONICAL, EMBEDDING
from proxyhash.evaluation import Protocol
from proxyhash.evaluation.average_precision import mean_average_precision, summarize
from proxyhash.evaluation.counting import expected_precisions
from proxyhash.evaluation.pairs import PAIR_AT, pair_ranks, ranks_among
from proxyhash.hashing import HashModel
from proxyhash.training.folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    from proxyhash.bench.cell import Cell
    from proxyhash.bench.spaces import Space, Vectors
    from proxyhash.data import Modality
    from proxyhash.encoders import Features
    from proxyhash.evaluation.ranking import Labels
    from proxyhash.training.prepare import Prepared

__all__ = ["measure", "space_of"]

_STEPS = 2.0**20
"""Steps of a similarity of 1. Sums of float32 differ in their last bits, and equal vectors should
be equally near."""

_BLOCK = 64  # queries whose distances are in memory at once


def space_of(cell: Cell, prepared: Prepared) -> Space:
    """Return the space of a cell of yardsticks.

    Raises:
        UsageError: there is no such space in its data.
    """
    yardsticks = cell.yardsticks
    assert yardsticks is not None
    if yardsticks.space == EMBEDDING:
        shared = yardsticks.shared_space
        return embedding_space(
            prepared, shared=share_space(cell.config, prepared) if shared is None else shared
        )
    if yardsticks.space == CANONICAL:
        return canonical_space(prepared, size=max(yardsticks.bits), power=yardsticks.power)
    assert yardsticks.source is not None
    return output_space(prepared, HashModel.load(RunFolder(yardsticks.source).model))


def measure(
    cell: Cell, prepared: Prepared, queries: Mapping[Modality, Features] = MappingProxyType({})
) -> Iterator[dict[str, Any]]:
    """Yield the figures of every yardstick: a name, bytes, and mAP and recall by direction.

    mAP and recall are those of codes: the same queries, galleries, relevance and ties.

    Args:
        cell: which space, and at which bytes.
        prepared: items, split, encoders and features.
        queries: as `Prepared.query_features` returns them.

    Raises:
        MissingExtraError: FAISS is not installed.
        UsageError: there is no such space in the data.
    """
    assert cell.yardsticks is not None
    space = space_of(cell, with_queries(prepared, queries))
    signs = cell.yardsticks.space in {EMBEDDING, CANONICAL}  # of outputs they are the codes
    for each in quantize(space, cell.yardsticks.bits, seed=cell.seed, signs=signs):
        found: dict[int, dict[str, Any]] = {}
        for way, (asked, searched) in space.directions.items():
            if asked not in each.bytes_per_item or searched not in each.bytes_per_item:
                continue
            if cell.yardsticks.space != EMBEDDING and asked == searched:
                continue
            size = each.bytes_per_item[searched]
            found.setdefault(size, {})[way] = _figures(each, space, prepared, asked, searched)
        for size, directions in found.items():
            yield {"name": each.name, "bytes": size, "directions": directions}


def _figures(
    each: Bits | Decoded, space: Space, prepared: Prepared, asked: Modality, searched: Modality
) -> dict[str, Any]:
    split, count = prepared.split, len(prepared.collection)
    rows = split.query[space.present[asked][split.query]]
    columns = split.gallery[space.present[searched][split.gallery]]

    def asking(items: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        own = len(space.present[asked]) > count  # see `with_queries`
        return np.searchsorted(split.query, items) + count if own else items

    found = _maps(
        each,
        asked,
        searched,
        rows=asking(rows),
        columns=columns,
        strict=np.isin(columns, split.strict_gallery),
        query_labels=prepared.collection.labels[rows],
        gallery_labels=prepared.collection.labels[columns],
    )
    both = rows[space.present[searched][rows]]
    if asked != searched and len(both) > 1:
        if isinstance(each, Bits):
            ranks = pair_ranks(each.codes[asked][asking(both)], each.codes[searched][both])
        else:
            query, gallery = each.query[asked][asking(both)], each.gallery[searched][both]
            ranks = ranks_among(lambda part: _distances(query[part], gallery), len(both))
        found["recall_at"] = {str(n): ranks.recall_at(n) for n in PAIR_AT if n <= len(both)}
        found["median_rank"] = ranks.median
    return found


def _maps(
    each: Bits | Decoded,
    asked: Modality,
    searched: Modality,
    *,
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    strict: npt.NDArray[np.bool_],
    query_labels: Labels,
    gallery_labels: Labels,
) -> dict[str, Any]:
    """Return the expected mAP@all of both galleries, None where it is empty or no query counts."""
    found: dict[str, Any] = {}
    galleries = {"literature": np.ones_like(strict), "strict": strict}
    if isinstance(each, Bits):
        for name, kept in galleries.items():
            total = mean_average_precision(
                each.codes[asked][rows],
                each.codes[searched][columns[kept]],
                query_labels,
                gallery_labels[kept],
                bits=each.bits,
            )
            found[name] = total.value
    else:
        query, gallery = each.query[asked][rows], each.gallery[searched][columns]
        wanted = gallery_labels.T.astype(np.float32)
        precisions = {name: np.full(len(rows), np.nan) for name in galleries}
        for start in range(0, len(rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            distances = _distances(query[part], gallery)
            relevant = query_labels[part].astype(np.float32) @ wanted > 0
            order = np.argsort(distances, axis=1)
            for name, kept in galleries.items():
                expected_precisions(order, distances, relevant, kept, precisions[name][part])
        found = {name: summarize(each, Protocol()).value for name, each in precisions.items()}
    return {name: None if np.isnan(value) else value for name, value in found.items()}


def _distances(query: Vectors, gallery: Vectors) -> npt.NDArray[np.float64]:
    """Return less than the inner products, so that the largest is the nearest, (b, n)."""
    return -np.rint((query @ gallery.T).astype(np.float64) * _STEPS)
