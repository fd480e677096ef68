"""Constructions from coding theory, against their definitions and the distances in the books."""

from __future__ import annotations

import numpy as np
import pytest

from proxyhash.proxies.known_codes import (
    extended_bch,
    griesmer_bound,
    hadamard,
    kerdock,
    next_hadamard_order,
    search_generator,
    span,
)
from tests.proxies import brute_force

# Every multiple of 4 up to 48 and of 8 up to 128, plus a few more.
ORDERS = sorted({1, 2, *range(4, 49, 4), *range(8, 129, 8), 60, 68, 76, 84, 108, 256})


@pytest.mark.parametrize("order", ORDERS)
def test_hadamard_rows_are_orthogonal(order: int) -> None:
    matrix = hadamard(order)
    assert matrix is not None
    assert matrix.dtype == np.int8
    assert set(np.unique(matrix)) <= {-1, 1}
    gram = matrix.astype(np.int64) @ matrix.T.astype(np.int64)
    assert np.array_equal(gram, order * np.eye(order))


@pytest.mark.parametrize("order", [0, -4, 3, 6, 14, 50])
def test_no_hadamard_matrix_has_these_orders(order: int) -> None:
    assert hadamard(order) is None


def test_next_order() -> None:
    assert [next_hadamard_order(bits) for bits in (1, 3, 16, 25, 50)] == [1, 4, 16, 28, 56]


@pytest.mark.parametrize(("length", "words", "distance"), [(16, 256, 6), (64, 4096, 28)])
def test_kerdock_codes_have_their_parameters(length: int, words: int, distance: int) -> None:
    code = kerdock(length)
    assert code.shape == (words, length)
    signs = 1 - 2.0 * code
    found = np.unique((length - signs @ signs.T) / 2)
    # The distances of a Kerdock code: 0, then half the length and a root to either side, all.
    assert found.tolist() == [0, distance, length / 2, length - distance, length]


def test_nordstrom_robinson_code_word_by_word() -> None:
    code = kerdock(16)
    assert min(brute_force.distances(code.tolist())) == 6


def test_span_of_a_hamming_code() -> None:
    generator = np.array(
        [
            [1, 0, 0, 0, 0, 1, 1],
            [0, 1, 0, 0, 1, 0, 1],
            [0, 0, 1, 0, 1, 1, 0],
            [0, 0, 0, 1, 1, 1, 1],
        ],
        np.uint8,
    )
    words = span(generator)
    assert len({tuple(word) for word in words.tolist()}) == 16
    assert words[0].sum() == 0
    assert min(brute_force.distances(words.tolist())) == 3
    assert np.bincount(words.sum(axis=1)).tolist() == [1, 0, 0, 7, 7, 0, 0, 1]


@pytest.mark.parametrize(
    ("length", "dimension", "distance"),
    [
        *[(16, 5, 8), (16, 7, 6), (16, 11, 4), (32, 6, 16), (32, 11, 12), (32, 16, 8)],
        *[(64, 7, 32), (64, 10, 28), (64, 16, 24), (128, 8, 64), (128, 15, 56)],
    ],
)
def test_extended_bch_codes_have_their_distance(length: int, dimension: int, distance: int) -> None:
    generator = extended_bch(length, dimension)
    assert generator is not None
    words = span(generator)
    assert words.shape == (2**dimension, length)
    # A linear code's minimum distance is its smallest weight, zero left out.
    assert int(words[1:].sum(axis=1).min()) == distance


def test_extended_bch_cut_to_other_lengths() -> None:
    generator = extended_bch(50, 10)
    assert generator is not None
    assert generator.shape == (10, 50)
    assert extended_bch(300, 10) is None
    assert extended_bch(16, 16) is None


def test_griesmer_bound_is_met_by_simplex_and_golay_codes() -> None:
    assert griesmer_bound(7, 3) == 4
    assert griesmer_bound(31, 5) == 16
    assert griesmer_bound(23, 12) >= 7
    assert griesmer_bound(5, 1) == 5


@pytest.mark.parametrize(
    ("length", "dimension", "distance"),
    [
        *[(16, 5, 8), (16, 7, 6), (24, 7, 10), (32, 7, 14), (32, 8, 12), (48, 7, 22)],
        *[(64, 8, 28), (5, 1, 5), (6, 6, 1)],
    ],
)
def test_searched_codes_reach_these_distances(length: int, dimension: int, distance: int) -> None:
    generator = search_generator(length, dimension, seed=0)
    words = span(generator)
    assert words.shape == (2**dimension, length)
    found = min(brute_force.distances(words.tolist()))
    assert distance <= found <= griesmer_bound(length, dimension)


def test_search_is_seeded() -> None:
    first, second = (search_generator(24, 6, seed=4) for _ in range(2))
    assert np.array_equal(first, second)
