"""Search by words and codes together in a generation: both lists of rows become one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.codes.hamming import paired_distances
from proxyhash.index.engines.base import Matches
from proxyhash.index.second_look import look_again
from proxyhash.index.words import DEPTH, fuse_ranks

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from proxyhash.codes import Codes
    from proxyhash.index.filters import Filter
    from proxyhash.index.hit import Hit
    from proxyhash.index.second_look import SecondLook
    from proxyhash.index.store.generation import Generation
    from proxyhash.index.words import WordQuery

__all__ = ["search_words"]


@dataclass(frozen=True, eq=False)
class _Ranked:
    """Rows in their order, with what hits have of them.

    Attributes:
        rows: int64 (m,).
        distances: uint16 (m,), in bits.
        fused: float64 (m,).
    """

    rows: npt.NDArray[np.int64]
    distances: npt.NDArray[np.uint16]
    fused: npt.NDArray[np.float64]


def search_words(
    generation: Generation,
    query: Codes,
    words: Sequence[WordQuery],
    *,
    k: int | None,
    modality: str,
    radius: int | None,
    filter: Filter | None,  # noqa: A002
    look: SecondLook | None,
) -> list[list[Hit]] | None:
    """Return the items of each query by code and words; None if there is no word index."""
    rows = generation.rows
    mask = generation.mask(modality, filter)
    found = [generation.words.find(one, rows=rows, mask=mask) for one in words]
    matching = [one for one in found if one is not None]
    if len(matching) < len(words):
        return None
    if not rows.have(modality):
        return [[] for _ in query]
    generation.codes[modality].check(rows.count)
    nearest: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64) for _ in words]
    others: list[dict[int, float]] = [{} for _ in words]
    by_vectors = look is not None and look.by == "vectors"
    coded = np.flatnonzero([one.weight < 1 for one in words])
    if len(coded):
        by_code = _search_codes(
            generation, query, coded, k=k, modality=modality, radius=radius, mask=mask, look=look
        )
        ends = by_code.offsets.tolist()
        for place, (start, end) in zip(coded.tolist(), pairwise(ends), strict=True):
            nearest[place] = by_code.rows[start:end]
            far = by_code.vector_distances if by_vectors else by_code.asymmetric
            if far is not None:
                values = far[start:end].tolist()
                others[place] = dict(zip(nearest[place].tolist(), values, strict=True))
    ranked = []
    for code, near, match, one in zip(query, nearest, matching, words, strict=True):
        fused = fuse_ranks(near, match.rows, match.scores, match.rarity, weight=one.weight)
        ranked.append(_order(generation, code[None], *fused, k=k, modality=modality, radius=radius))
    hits = generation.hits(
        Matches(
            np.cumsum([0, *(len(one.rows) for one in ranked)]),
            np.concatenate([one.rows for one in ranked]),
            np.concatenate([one.distances for one in ranked]),
        )
    )
    return [
        [
            replace(
                hit,
                asymmetric=None if by_vectors else values.get(row),
                vector_distance=values.get(row) if by_vectors else None,
                fused=score,
                matched=match.terms_of(row),
            )
            for hit, row, score in zip(own, one.rows.tolist(), one.fused.tolist(), strict=True)
        ]
        for own, one, values, match in zip(hits, ranked, others, matching, strict=True)
    ]


def _search_codes(
    generation: Generation,
    query: Codes,
    which: npt.NDArray[np.int64],
    *,
    k: int | None,
    modality: str,
    radius: int | None,
    mask: npt.NDArray[np.bool_] | None,
    look: SecondLook | None,
) -> Matches:
    """Return the nearest rows of some of the queries, as many as get a rank."""
    rows, depth = generation.rows, None if k is None else max(k, DEPTH)
    search = partial(generation.engines[modality].search, query[which], rows, mask=mask)
    if look is None:
        return search(k=depth, radius=radius)
    return look_again(
        query[which],
        replace(look, weights=look.weights[which]),
        generation.codes[modality].map(rows.count),
        search,
        k=depth,
        radius=radius,
        mask=mask,
        order=rows.order,
        vectors=generation.vectors[modality].map(rows.count) if look.by == "vectors" else None,
    )


def _order(
    generation: Generation,
    code: Codes,
    found: npt.NDArray[np.int64],
    fused: npt.NDArray[np.float64],
    *,
    k: int | None,
    modality: str,
    radius: int | None,
) -> _Ranked:
    """Return the best rows of one query, ordered by (fused score, distance, id)."""
    codes = generation.gather(modality, found)
    apart = paired_distances(code, codes, np.zeros(len(found), np.int64))
    best = np.lexsort((generation.rows.order[found], apart, -fused))
    if radius is not None:
        best = best[apart[best] <= radius]
    best = best[:k]
    return _Ranked(found[best], apart[best], fused[best])
