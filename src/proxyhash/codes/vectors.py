"""Stored vectors: the real-valued outputs of gallery items, beside their bits.

A network's outputs s lie between -1 and 1; the signs are the bits. The vector distance between a
query's outputs h and an item's is (sum_k |h_k| - h . s) / 2: with s in {-1, +1}^K it is the
asymmetric distance of `proxyhash.codes.asymmetric`, and the order is that of h . s. Vectors are
stored in one byte per bit (`int8`: 127 steps to either side) or in four (`float`).

Distances are sums of whole numbers, 1 / `ONE` of the query's outputs times one step of the item's,
so that equal distances are equal whatever computed them.
"""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from proxyhash.codes.asymmetric import ONE, Ranked, Weights, check_weights, weights_of
from proxyhash.codes.bits import Codes, signs
from proxyhash.codes.kernels import default_threads, kernel, run_blocks
from proxyhash.errors import DataError, UsageError, check_option

__all__ = [
    "STEPS",
    "VECTOR_KINDS",
    "VectorKind",
    "Vectors",
    "check_kind",
    "in_bits",
    "paired_vector_distances",
    "stored_vectors",
    "vector_dtype",
    "vector_top_k",
    "weights_of_vectors",
]

VectorKind = Literal["int8", "float"]
VECTOR_KINDS: tuple[VectorKind, ...] = get_args(VectorKind)
"""How vectors can be stored."""

Vectors = npt.NDArray[Any]
"""Stored vectors, int8 or float32 (n, K)."""

STEPS = 127
"""The steps of an output that is stored as int8: its size is one of 0 to 127 of them."""

# By weight the steps and the float32 that are stored, and by steps the weight: with tables no array
# is made beside the result.
_STEPS_OF = np.rint(np.arange(ONE + 1) * (STEPS / ONE)).astype(np.int8)
_FLOATS_OF = (np.arange(ONE + 1) / ONE).astype(np.float32)
_WEIGHTS_OF = np.rint(np.arange(STEPS + 1) / STEPS * ONE).astype(np.uint16)

_BLOCK = 2**18  # rows whose distances are in memory at once


def check_kind(kind: object) -> VectorKind:
    """Return how vectors are stored.

    Raises:
        UsageError: "vectors is 'int4'; it must be one of int8, float".
    """
    return cast("VectorKind", check_option("vectors", str(kind), VECTOR_KINDS))


def vector_dtype(kind: VectorKind) -> type[np.generic]:
    """Return the kind of number of stored vectors."""
    return np.int8 if kind == "int8" else np.float32


def stored_vectors(codes: Codes, weights: Weights, *, bits: int, kind: VectorKind) -> Vectors:
    """Return outputs as they are stored, int8 or float32 (n, K).

    Args:
        codes: packed codes (n, B), the signs of the outputs.
        weights: the sizes of the outputs, uint16 (n, K); see `weights_of`.
        bits: the code length K.
        kind: how they are stored.
    """
    check_weights(weights, queries=len(codes), bits=bits)
    if kind == "int8":
        steps: Vectors = signs(codes, bits=bits) * _STEPS_OF[weights]
        return steps
    vectors: Vectors = signs(codes, bits=bits) * _FLOATS_OF[weights]
    return vectors


def weights_of_vectors(vectors: Vectors) -> Weights:
    """Return the sizes of stored outputs, uint16 (n, K); `stored_vectors` undoes it exactly."""
    if vectors.dtype == np.int8:
        weights: Weights = _WEIGHTS_OF[np.abs(vectors)]
        return weights
    return weights_of(vectors)


def in_bits(distances: npt.NDArray[np.int64], vectors: Vectors) -> npt.NDArray[np.float64]:
    """Return distances to stored vectors in bits."""
    return distances / (2.0 * ONE * _unit(vectors))


def paired_vector_distances(
    query: Codes,
    weights: Weights,
    vectors: Vectors,
    owners: npt.NDArray[np.int64],
    *,
    rows: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.int64]:
    """Return the distance of each of some vectors to one query, int64 (m,); see `in_bits`.

    Args:
        query: packed codes (q, B).
        weights: the size of each of their outputs, uint16 (q, K).
        vectors: stored, (n, K).
        owners: int64 (m,), the query of each vector, ascending.
        rows: int64 (m,), the places of the vectors; default all, m = n.
    """
    outputs = _signed(query, weights, vectors)
    rows = np.arange(len(vectors)) if rows is None else rows
    result = np.empty(len(owners), np.int64)
    edges = np.searchsorted(owners, np.arange(len(query) + 1))
    for row in range(len(query)):
        part = slice(edges[row], edges[row + 1])
        _distances(outputs[row], vectors, rows[part], _unit(vectors), result[part])
    return result


def vector_top_k(
    query: Codes,
    weights: Weights,
    vectors: Vectors,
    *,
    k: int,
    mask: npt.NDArray[np.bool_] | None = None,
    order: npt.NDArray[np.uint64] | None = None,
    threads: int | None = None,
) -> Ranked:
    """Return the nearest min(k, n) vectors, from all of them; distances are int64, see `in_bits`.

    Takes 16 bytes of memory per row that the mask allows, and as much per thread as 2^18 of them.

    Args:
        query: packed codes (q, B).
        weights: the size of each of their outputs, uint16 (q, K).
        vectors: stored, (n, K).
        k: at least 1.
        mask: bool (n,); rows where it is False are not returned.
        order: uint64 (n,); ties go to the smaller one. Default: the row.
        threads: how many threads to use; default all cores.
    """
    outputs = _signed(query, weights, vectors)
    if k < 1:
        raise UsageError(f"k is {k}; it must be at least 1")
    kept = np.arange(len(vectors)) if mask is None else np.flatnonzero(mask)
    k = min(k, len(kept))
    positions, distances = np.empty((2, len(query), k), np.int64)
    starts = range(0, len(kept), _BLOCK)
    threads = default_threads() if threads is None else threads

    def nearest(rows: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> Any:
        if 0 < k < len(found):
            near = np.flatnonzero(found <= np.partition(found, k - 1)[k - 1])
            rows, found = rows[near], found[near]
        best = np.lexsort((rows if order is None else order[rows], found))[:k]
        return rows[best], found[best]

    for row in range(len(query)):
        parts: list[Any] = [None] * len(starts)

        def work(first: int, last: int, row: int = row, parts: list[Any] = parts) -> None:
            for block in range(first, last):
                rows = kept[starts[block] : starts[block] + _BLOCK]
                found = np.empty(len(rows), np.int64)
                _distances(outputs[row], vectors, rows, _unit(vectors), found)
                parts[block] = nearest(rows, found)

        run_blocks(work, len(starts), threads=threads, block=1)
        if parts:
            rows, found = (np.concatenate(each) for each in zip(*parts, strict=True))
            positions[row], distances[row] = nearest(rows, found)
    return Ranked(positions, distances)


def _unit(vectors: Vectors) -> int:
    return STEPS if vectors.dtype == np.int8 else ONE


def _signed(query: Codes, weights: Weights, vectors: Vectors) -> npt.NDArray[np.int64]:
    """Return the outputs of queries as whole numbers, int64 (q, K)."""
    if vectors.ndim != 2 or vectors.dtype not in (np.int8, np.float32):
        raise DataError(
            "vectors must be int8 or float32 of shape (items, bits), found "
            f"{vectors.dtype} of shape {vectors.shape}"
        )
    check_weights(weights, queries=len(query), bits=vectors.shape[1])
    return signs(query, bits=vectors.shape[1]).astype(np.int64) * weights


@kernel
def _distances(
    outputs: npt.NDArray[np.int64],
    vectors: Vectors,
    rows: npt.NDArray[np.int64],
    unit: int,
    result: npt.NDArray[np.int64],
) -> None:
    """Write sum(|h|) times `unit` less h . s of each of some rows."""
    width, whole, real = outputs.size, np.int64(0), unit == ONE
    for place in range(width):
        whole += abs(outputs[place]) * unit
    for item in range(rows.size):
        row, total = rows[item], np.int64(0)
        if real:
            for place in range(width):
                total += outputs[place] * np.int64(np.rint(vectors[row, place] * np.float64(ONE)))
        else:
            for place in range(width):
                total += outputs[place] * np.int64(vectors[row, place])
        result[item] = whole - total
