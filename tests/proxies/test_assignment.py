"""Assignment of codewords by co-occurrence, against trying every order."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from proxyhash.errors import UsageError
from proxyhash.proxies.assignment import (
    _assign_many,
    assign_by_cooccurrence,
    assignment_cost,
    cooccurrence,
)
from proxyhash.proxies.codebooks import hadamard_codebook, make_codebook
from proxyhash.proxies.make_proxies import make_proxies
from proxyhash.proxies.proxies import Proxies, pairwise_distances


def _proxies(classes: int, *, bits: int = 12, seed: int = 0) -> Proxies:
    rng = np.random.default_rng(seed)
    return Proxies(codes=rng.choice(np.array([-1, 1], np.int8), (classes, bits)), origin="test")


def _labels(classes: int, *, items: int = 60, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((items, classes)) < 0.35


def test_cooccurrence_by_hand() -> None:
    labels = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0]], bool)
    expected = np.zeros((4, 4))
    expected[0, 1] = expected[1, 0] = 2 / np.sqrt(4 * 2)
    expected[0, 2] = expected[2, 0] = 1 / np.sqrt(4 * 1)
    np.testing.assert_allclose(cooccurrence(labels), expected)


def test_cost_by_hand() -> None:
    proxies = Proxies(codes=np.array([[1, 1], [1, -1], [-1, -1]], np.int8), origin="test")
    related = np.array([[0, 1, 2], [1, 0, 0], [2, 0, 0]])
    assert assignment_cost(proxies, related) == 1 * 1 + 2 * 2


@pytest.mark.parametrize("seed", range(5))
def test_small_problems_are_solved_exactly(seed: int) -> None:
    proxies, labels = _proxies(6, seed=seed), _labels(6, seed=seed + 100)
    related = cooccurrence(labels)
    best = min(
        assignment_cost(proxies.reordered(np.array(order)), related)
        for order in permutations(range(6))
    )
    found = assign_by_cooccurrence(proxies, labels, seed=seed)
    assert assignment_cost(found, related) == pytest.approx(best)


def test_the_words_stay_the_same_set_and_the_order_improves() -> None:
    proxies, labels = _proxies(30, bits=32), _labels(30)
    found = assign_by_cooccurrence(proxies, labels)
    assert sorted(found.codes.tolist()) == sorted(proxies.codes.tolist())
    assert found.origin == proxies.origin
    related = cooccurrence(labels)
    rng = np.random.default_rng(0)
    by_chance = [
        assignment_cost(proxies.reordered(rng.permutation(30)), related) for _ in range(200)
    ]
    assert assignment_cost(found, related) < min(by_chance)


def test_opposite_words_go_to_classes_that_never_meet() -> None:
    # Classes 2i and 2i+1 always meet; sixteen words of 8 bits are eight opposite pairs.
    pairs = np.repeat(np.eye(8, dtype=bool), 2, axis=1)
    proxies = hadamard_codebook(16, 8)
    found = assign_by_cooccurrence(proxies, pairs)
    meeting = [np.sum(found.codes[2 * i] != found.codes[2 * i + 1]) for i in range(8)]
    assert max(meeting) == 4


def test_it_is_seeded() -> None:
    proxies, labels = _proxies(20), _labels(20)
    first, again = (assign_by_cooccurrence(proxies, labels, seed=5).codes for _ in range(2))
    assert np.array_equal(first, again)


def test_without_relations_nothing_moves() -> None:
    proxies = _proxies(5)
    assert assign_by_cooccurrence(proxies, np.eye(5, dtype=bool)) is proxies
    assert assign_by_cooccurrence(_proxies(1), np.ones((3, 1), bool)).classes == 1


def test_two_classes() -> None:
    found = assign_by_cooccurrence(_proxies(2), np.ones((3, 2), bool))
    assert found.classes == 2


def test_labels_must_fit() -> None:
    with pytest.raises(UsageError, match="labels have 4 classes, but there are 5 proxies"):
        assign_by_cooccurrence(_proxies(5), _labels(4))


@pytest.mark.parametrize("kind", ["phnet", "codebook"])
def test_make_proxies_by_name(kind: str) -> None:
    labels = _labels(8)
    plain = make_proxies(kind, classes=8, bits=16, seed=2)
    assigned = make_proxies(
        kind, classes=8, bits=16, seed=2, assignment="cooccurrence", labels=labels
    )
    related = cooccurrence(labels)
    assert sorted(assigned.codes.tolist()) == sorted(plain.codes.tolist())
    assert assignment_cost(assigned, related) <= assignment_cost(plain, related)


def test_make_proxies_checks_its_options() -> None:
    with pytest.raises(UsageError, match="did you mean 'codebook'"):
        make_proxies("codebok", classes=8, bits=16)
    with pytest.raises(UsageError, match="assignment is 'random'"):
        make_proxies("phnet", classes=8, bits=16, assignment="random")
    with pytest.raises(UsageError, match="needs the labels"):
        make_proxies("codebook", classes=8, bits=16, assignment="cooccurrence")


def test_the_descent_for_many_classes_counts_its_changes_rightly() -> None:
    """It ends where no exchange of two lowers the cost, found by trying each."""
    rng = np.random.default_rng(0)
    labels = rng.random((60, 14)) < 0.2
    proxies = make_codebook(14, 16)
    related = cooccurrence(labels)
    distances = pairwise_distances(proxies.codes).astype(np.float64)
    order = _assign_many(related, distances, seed=0)
    assert sorted(order) == list(range(14))
    cost = assignment_cost(proxies.reordered(order), related)
    for r in range(14):
        for s in range(r):
            other = order.copy()
            other[[r, s]] = other[[s, r]]
            assert assignment_cost(proxies.reordered(other), related) >= cost - 1e-6
    best = assignment_cost(assign_by_cooccurrence(proxies, labels), related)
    assert best <= cost <= 1.05 * best


def test_many_classes_are_assigned_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.random.default_rng(0).random((300, 150)) < 0.03
    proxies = make_codebook(150, 32)
    related = cooccurrence(labels)
    better = assign_by_cooccurrence(proxies, labels)
    assert assignment_cost(better, related) < 0.99 * assignment_cost(proxies, related)
    monkeypatch.setattr("proxyhash.proxies.assignment.MOST_PRODUCTS", 0)
    assert sorted(map(bytes, assign_by_cooccurrence(proxies, labels).codes)) == sorted(
        map(bytes, proxies.codes)
    )
