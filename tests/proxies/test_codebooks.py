"""Codebooks: the distances they promise, for many classes and bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.errors import UsageError
from proxyhash.proxies.codebooks import (
    LARGEST_CODEBOOK,
    hadamard_codebook,
    make_codebook,
    search_codebook,
)
from proxyhash.proxies.word_sets import choose_words, pair_energy, search_words, set_energy
from tests.proxies import brute_force

# (classes, bits, minimum distance)
DISTANCES = [
    *[(10, 16, 8), (10, 64, 34), (21, 64, 32)],
    *[(24, 16, 8), (24, 32, 16), (25, 16, 8), (25, 32, 16), (25, 64, 32), (25, 128, 64)],
    *[(80, 16, 6), (80, 24, 10), (80, 32, 14), (80, 48, 24), (80, 64, 32), (80, 128, 64)],
    *[(82, 16, 6), (82, 32, 14), (82, 64, 32), (82, 128, 64)],
    *[(255, 16, 6), (291, 32, 12), (291, 64, 28)],
]


@pytest.mark.parametrize(("classes", "bits", "distance"), DISTANCES)
def test_codebooks_reach_these_distances(classes: int, bits: int, distance: int) -> None:
    proxies = make_codebook(classes, bits)
    assert proxies.codes.shape == (classes, bits)
    assert min(brute_force.distances(proxies.codes.tolist())) >= distance
    assert proxies.bit_balance < 0.1


@given(st.integers(1, 12), st.integers(1, 40), st.integers(0, 2**31 - 1))
def test_any_size_gives_different_words(bits: int, classes: int, seed: int) -> None:
    classes = min(classes, 2**bits)
    proxies = make_codebook(classes, bits, seed=seed)
    assert len({tuple(word) for word in proxies.codes.tolist()}) == classes


def test_a_large_codebook() -> None:
    proxies = make_codebook(600, 32)
    assert proxies.codes.shape == (600, 32)
    assert proxies.minimum_distance >= 12


@pytest.mark.parametrize("make", [make_codebook, hadamard_codebook, search_codebook])
def test_codebooks_are_seeded(make: object) -> None:
    assert callable(make)
    first, again, other = make(12, 16, seed=1), make(12, 16, seed=1), make(12, 16, seed=2)
    assert np.array_equal(first.codes, again.codes)
    assert not np.array_equal(first.codes, other.codes)


def test_hadamard_codebook() -> None:
    within = hadamard_codebook(32, 32)
    assert within.origin == "hadamard"
    # As many classes as bits need no opposite words: all distances are K/2.
    assert set(brute_force.distances(within.codes.tolist())) == {16}
    full = hadamard_codebook(64, 32)
    assert sorted(set(brute_force.distances(full.codes.tolist()))) == [16, 32]
    assert full.bit_balance == 0
    cut = hadamard_codebook(20, 26)
    assert min(brute_force.distances(cut.codes.tolist())) >= 14 - 2
    with pytest.raises(UsageError, match=r"65 classes of 32 bits have no Hadamard codebook"):
        hadamard_codebook(65, 32)


def test_search_codebook_beats_random_words() -> None:
    proxies = search_codebook(24, 32)
    random = np.random.default_rng(0).choice([-1, 1], (24, 32))
    assert proxies.origin == "search"
    assert min(brute_force.distances(proxies.codes.tolist())) >= 14
    assert min(brute_force.distances(random.tolist())) < 12


def test_search_of_one_word() -> None:
    assert search_words(1, 7, seed=0).shape == (1, 7)


def test_too_many_classes_are_refused() -> None:
    with pytest.raises(UsageError, match="do not fit in 4 bits"):
        make_codebook(17, 4)
    with pytest.raises(UsageError, match="use the proxies 'phnet'"):
        make_codebook(LARGEST_CODEBOOK + 1, 64)


def test_energy_prefers_far_words_but_not_opposite_ones() -> None:
    near, quarter, half, opposite = pair_energy(np.array([0, 4, 8, 16]), bits=16)
    assert half < quarter < opposite < near
    assert set_energy(np.ones((1, 4), np.int8)) == 0
    assert set_energy(np.array([[1, 1], [1, -1]], np.int8)) == pytest.approx(1.05)


def test_choosing_words_lowers_the_energy_and_keeps_them_different() -> None:
    rng = np.random.default_rng(0)
    code = np.unique(rng.choice(np.array([-1, 1], np.int8), (200, 16)), axis=0)
    chosen = choose_words(code, 20, seed=0)
    assert len(np.unique(chosen, axis=0)) == 20
    assert set_energy(chosen) < 0.7 * set_energy(code[:20])
    assert np.array_equal(choose_words(code[:9], 9, seed=0), code[:9])
