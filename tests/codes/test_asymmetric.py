"""Asymmetric distances against the formula, and the nearest items against a sort of all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyhash.codes import binarize, distances, signs
from proxyhash.codes.asymmetric import (
    ONE,
    asymmetric_distances,
    asymmetric_top_k,
    paired_asymmetric_distances,
    weights_of,
)
from proxyhash.errors import DataError, UsageError


def drawn(seed: int, *, bits: int, queries: int = 3, items: int = 50):
    rng = np.random.default_rng(seed)
    outputs = np.tanh(rng.standard_normal((queries, bits)))
    gallery = binarize(rng.standard_normal((items, bits)))
    return outputs, gallery


@pytest.mark.parametrize("bits", [1, 7, 8, 13, 64, 100, 128])
def test_distances_follow_the_inner_product(bits: int) -> None:
    outputs, gallery = drawn(bits, bits=bits)
    found = asymmetric_distances(binarize(outputs), weights_of(outputs), gallery)
    products = outputs @ signs(gallery, bits=bits).T.astype(float)
    expected = (np.abs(outputs).sum(axis=1, keepdims=True) - products) / 2
    assert found / ONE == pytest.approx(expected, abs=bits / ONE)


def test_full_confidence_is_the_hamming_distance() -> None:
    outputs, gallery = drawn(0, bits=40)
    query = binarize(outputs)
    found = asymmetric_distances(query, weights_of(np.sign(outputs)), gallery)
    assert (found == distances(query, gallery).astype(np.uint32) * ONE).all()


def test_by_hand() -> None:
    outputs = np.array([[0.5, -0.25, 1.0, -2.0]])
    assert weights_of(outputs).tolist() == [[32768, 16384, 65535, 65535]]
    gallery = np.array([[0b10100000], [0b00100000], [0b11110000], [0b01010000]], np.uint8)
    found = asymmetric_distances(binarize(outputs), weights_of(outputs), gallery)
    assert found.tolist() == [[0, 32768, 16384 + 65535, 32768 + 16384 + 2 * 65535]]


def test_the_longest_code_fits() -> None:
    query = np.full((1, 8191), 0xFF, np.uint8)
    found = asymmetric_distances(query, np.full((1, 65528), ONE, np.uint16), ~query)
    assert found.tolist() == [[65528 * ONE]]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.sampled_from([3, 8, 12]),
    items=st.integers(0, 60),
    k=st.integers(1, 70),
    masked=st.booleans(),
    ordered=st.booleans(),
    threads=st.integers(1, 3),
)
def test_the_nearest_are_those_of_a_sort(
    seed: int, bits: int, items: int, k: int, masked: bool, ordered: bool, threads: int
) -> None:
    outputs, gallery = drawn(seed, bits=bits, items=items)
    rng = np.random.default_rng(seed)
    coarse = np.round(outputs * 2) / 2  # few values, so that there are ties
    query, weights = binarize(coarse), weights_of(coarse)
    mask = rng.random(items) < 0.6 if masked else None
    order = rng.permutation(items).astype(np.uint64) if ordered else None
    found = asymmetric_top_k(query, weights, gallery, k=k, mask=mask, order=order, threads=threads)
    every = asymmetric_distances(query, weights, gallery)
    for row in range(len(query)):
        allowed = [each for each in range(items) if mask is None or mask[each]]
        ranks = range(items) if order is None else order
        expected = sorted(allowed, key=lambda each: (every[row, each], ranks[each]))[:k]
        assert found.positions[row].tolist() == expected
        assert found.distances[row].tolist() == every[row, expected].tolist()


@pytest.mark.parametrize("queries", [1, 5])
def test_many_items_are_spread_over_threads(queries: int) -> None:
    outputs, gallery = drawn(1, bits=16, queries=queries, items=300_000)
    query, weights = binarize(outputs), weights_of(outputs)
    order = np.random.default_rng(2).permutation(300_000).astype(np.uint64)
    found = asymmetric_top_k(query, weights, gallery, k=50, order=order, threads=3)
    every = asymmetric_distances(query, weights, gallery)
    for row in range(queries):
        expected = np.lexsort((order, every[row]))[:50]
        assert (found.positions[row] == expected).all()


def test_pairs_have_their_own_query() -> None:
    outputs, gallery = drawn(3, bits=24)
    query, weights = binarize(outputs), weights_of(outputs)
    owners = np.array([0] * 20 + [2] * 30)
    found = paired_asymmetric_distances(query, weights, gallery, owners)
    every = asymmetric_distances(query, weights, gallery)
    assert (found == every[owners, np.arange(50)]).all()
    rows = np.random.default_rng(0).integers(0, 50, 50)
    found = paired_asymmetric_distances(query, weights, gallery, owners, rows=rows)
    assert (found == every[owners, rows]).all()


def test_what_does_not_fit_is_refused() -> None:
    outputs, gallery = drawn(4, bits=16)
    query, weights = binarize(outputs), weights_of(outputs)
    with pytest.raises(DataError, match=r"weights must be uint16 of shape \(3, 16\), found float"):
        asymmetric_distances(query, outputs, gallery)
    with pytest.raises(DataError, match=r"found shape \(16,\)"):
        weights_of(outputs[0])
    with pytest.raises(DataError, match="NaN"):
        weights_of(outputs * np.nan)
    with pytest.raises(DataError, match="gallery codes are 1 bytes wide"):
        asymmetric_distances(query, weights, gallery[:, :1])
    with pytest.raises(UsageError, match="k is 0"):
        asymmetric_top_k(query, weights, gallery, k=0)
    with pytest.raises(DataError, match=r"the mask must be bool of shape \(50,\)"):
        asymmetric_top_k(query, weights, gallery, k=1, mask=np.ones(3, np.bool_))
