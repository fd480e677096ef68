"""Stored vectors: the formula as a loop in exact fractions, quantization, order and ties."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from proxyhash.codes import asymmetric_distances, binarize, signs, unpack, weights_of
from proxyhash.codes.asymmetric import ONE
from proxyhash.codes.vectors import (
    STEPS,
    VectorKind,
    check_kind,
    in_bits,
    paired_vector_distances,
    stored_vectors,
    vector_top_k,
    weights_of_vectors,
)
from proxyhash.errors import DataError, UsageError

KINDS: tuple[VectorKind, ...] = ("int8", "float")


def drawn(seed: int, *, bits: int, queries: int = 4, items: int = 60) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    query, gallery = (np.tanh(rng.normal(size=(n, bits))) for n in (queries, items))
    return binarize(query), weights_of(query), binarize(gallery), weights_of(gallery), gallery


def by_hand(
    query: Any, weights: Any, code: Any, stored: Any, *, bits: int, kind: VectorKind
) -> Fraction:
    """Return (sum |h| - h . s) / 2 in fractions, s rounded to a step."""
    total = Fraction(0)
    for place in range(bits):
        step = STEPS if kind == "int8" else ONE
        size = Fraction(round(Fraction(int(stored[place]) * step, ONE)), step)
        own, other = (
            unpack(query[None], bits=bits)[0, place],
            unpack(code[None], bits=bits)[0, place],
        )
        sure = Fraction(int(weights[place]), ONE)
        total += sure - sure * size * (1 if own == other else -1)
    return total / 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [5, 16, 67])
def test_distances_are_those_of_the_formula(kind: VectorKind, bits: int) -> None:
    query, weights, codes, stored, _ = drawn(bits, bits=bits)
    vectors = stored_vectors(codes, stored, bits=bits, kind=kind)
    assert vectors.dtype == (np.int8 if kind == "int8" else np.float32)
    owners, rows = np.array([0] * 10 + [3] * 20), np.random.default_rng(1).integers(0, 60, 30)
    found = paired_vector_distances(query, weights, vectors, owners, rows=rows)
    unit = 2 * ONE * (STEPS if kind == "int8" else ONE)
    for value, shown, owner, row in zip(found, in_bits(found, vectors), owners, rows, strict=True):
        expected = by_hand(
            query[owner], weights[owner], codes[row], stored[row], bits=bits, kind=kind
        )
        assert Fraction(int(value), unit) == expected
        assert shown == pytest.approx(float(expected), rel=1e-12)


def test_steps_are_the_nearest_to_the_outputs() -> None:
    _, _, codes, stored, outputs = drawn(2, bits=40)
    steps = stored_vectors(codes, stored, bits=40, kind="int8")
    assert np.abs(steps - outputs * STEPS).max() <= 0.5 + 1e-2
    floats = stored_vectors(codes, stored, bits=40, kind="float")
    assert np.abs(floats - outputs).max() <= 1 / ONE


@pytest.mark.parametrize("kind", KINDS)
def test_weights_come_back_and_are_stored_the_same_again(kind: VectorKind) -> None:
    every = np.arange(ONE + 1, dtype=np.uint16).reshape(-1, 64)
    codes = np.random.default_rng(0).integers(0, 256, (len(every), 8), dtype=np.uint8)
    vectors = stored_vectors(codes, every, bits=64, kind=kind)
    again = weights_of_vectors(vectors)
    assert (stored_vectors(codes, again, bits=64, kind=kind) == vectors).all()
    if kind == "float":
        assert (again == every).all()


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_that_are_sure_of_each_bit_have_asymmetric_distances(kind: VectorKind) -> None:
    query, weights, codes, stored, _ = drawn(3, bits=24)
    vectors = stored_vectors(codes, np.full_like(stored, ONE), bits=24, kind=kind)
    assert (np.sign(vectors) == signs(codes, bits=24)).all()
    owners = np.repeat(np.arange(4), 60)
    found = paired_vector_distances(query, weights, vectors, owners, rows=np.tile(range(60), 4))
    expected = asymmetric_distances(query, weights, codes).reshape(-1)
    assert (in_bits(found, vectors) == expected / ONE).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ordered", [False, True])
def test_the_nearest_of_all_are_exact_with_ties_by_order(
    kind: VectorKind, ordered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxyhash.codes.vectors._BLOCK", 25)
    query, weights, codes, stored, _ = drawn(4, bits=8, items=200)
    vectors = stored_vectors(codes, stored // 20_000 * 20_000, bits=8, kind=kind)
    rng = np.random.default_rng(5)
    order = rng.permutation(200).astype(np.uint64) if ordered else None
    for mask in (None, rng.random(200) < 0.3, np.zeros(200, np.bool_)):
        for k in (1, 7, 500):
            found = vector_top_k(query, weights, vectors, k=k, mask=mask, order=order, threads=3)
            for row in range(4):
                every = paired_vector_distances(
                    query[[row]], weights[[row]], vectors, np.zeros(200, np.int64)
                )
                ranks = np.arange(200) if order is None else order
                expected = [
                    int(place)
                    for place in np.lexsort((ranks, every))
                    if mask is None or mask[place]
                ][:k]
                assert found.positions[row].tolist() == expected
                assert found.distances[row].tolist() == every[expected].tolist()


def test_what_does_not_fit_is_refused() -> None:
    query, weights, codes, stored, _ = drawn(6, bits=16)
    with pytest.raises(UsageError, match=r"vectors is 'int4'; it must be one of float, int8"):
        check_kind("int4")
    with pytest.raises(DataError, match=r"weights must be uint16 of shape \(60, 16\)"):
        stored_vectors(codes, stored[:5], bits=16, kind="int8")
    vectors = stored_vectors(codes, stored, bits=16, kind="int8")
    with pytest.raises(DataError, match="vectors must be int8 or float32"):
        vector_top_k(query, weights, vectors.astype(np.int16), k=1)
    with pytest.raises(UsageError, match="k is 0"):
        vector_top_k(query, weights, vectors, k=0)
