"""Affinity proxies against their own target, slow loops and equal words."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxyhash.errors import UsageError
from proxyhash.proxies import affinity
from proxyhash.proxies.affinity import affinity_proxies, target_cosines
from proxyhash.proxies.make_proxies import make_proxies

if TYPE_CHECKING:
    from collections.abc import Iterator


def _labels(*, classes: int = 12, items: int = 400, seed: int = 0) -> np.ndarray:
    """Labels in which classes 2m and 2m + 1 often meet."""
    rng = np.random.default_rng(seed)
    pairs = rng.random((items, classes // 2)) < 0.15
    return np.repeat(pairs, 2, axis=1) & (rng.random((items, classes)) < 0.8)


def _cost(codes: np.ndarray, target: np.ndarray) -> float:
    total = 0.0
    classes, bits = codes.shape
    for i in range(classes):
        for j in range(i):
            total += (int(codes[i].astype(int) @ codes[j]) / bits - target[i, j]) ** 2
    return total


def test_target_by_hand() -> None:
    labels = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1]], bool)
    expected = np.zeros((3, 3))
    expected[0, 1] = expected[1, 0] = 0.75 * 1 / np.sqrt(4 * 1)
    np.testing.assert_allclose(target_cosines(labels, strength=0.75), expected)
    assert target_cosines(labels, strength=100.0)[0, 1] == 0.75


def test_no_single_flip_comes_nearer_to_the_target() -> None:
    labels = _labels()
    codes = affinity_proxies(labels, 32, seed=3).codes
    target = target_cosines(labels)
    cost = _cost(codes, target)
    for i, k in np.ndindex(codes.shape):
        flipped = codes.copy()
        flipped[i, k] *= -1
        assert _cost(flipped, target) >= cost - 1e-9


def test_classes_that_meet_lie_nearer() -> None:
    codes = affinity_proxies(_labels(), 64).codes.astype(int)
    cosines = codes @ codes.T / 64
    partners = [cosines[i, i + 1] for i in range(0, 12, 2)]
    strangers = [cosines[i, j] for i in range(12) for j in range(12) if i // 2 != j // 2]
    assert min(partners) > 0.5 > max(strangers)


def test_crowded_classes_get_words_of_their_own_or_an_error() -> None:
    assert affinity_proxies(_labels(classes=30), 12).minimum_distance >= 1
    with pytest.raises(UsageError, match="two of 30 classes would share a proxy of 8 bits"):
        affinity_proxies(np.ones((20, 30), bool), 8, strength=5.0)


def test_equal_seeds_give_equal_proxies() -> None:
    first, second = (affinity_proxies(_labels(), 16, seed=seed).codes for seed in (1, 1))
    np.testing.assert_array_equal(first, second)
    assert (first != affinity_proxies(_labels(), 16, seed=2).codes).any()


def test_by_name_and_wrong_input() -> None:
    labels = _labels()
    made = make_proxies("affinity", classes=12, bits=16, labels=labels, seed=4)
    np.testing.assert_array_equal(made.codes, affinity_proxies(labels, 16, seed=4).codes)
    with pytest.raises(UsageError, match="proxies 'affinity' needs the labels"):
        make_proxies("affinity", classes=12, bits=16)
    with pytest.raises(UsageError, match="strength is -1"):
        affinity_proxies(labels, 16, strength=-1.0)


def test_many_classes_reach_what_few_do() -> None:
    """The fast descent ends where no flip helps, too, and no higher than the slow one."""
    labels = _labels(classes=20)
    target = 32 * target_cosines(labels)
    ends = {}
    for name in ("slow", "fast"):
        rng = np.random.default_rng(0)
        words = rng.choice(np.array([-1.0, 1.0]), size=(20, 32))
        if name == "slow":
            affinity._descend(words, target, rng)
        else:
            affinity._descend_many(words, target, rng, iter(range(100)))
        ends[name] = _cost(words, target / 32)
        for i in range(20):
            assert affinity._changes(words, target, i).min() >= -1e-6
    assert ends["fast"] <= 1.05 * ends["slow"]


def test_few_classes_have_the_proxies_of_earlier_versions() -> None:
    """Runs of earlier versions depend on them, bit for bit."""
    codes = affinity_proxies(_labels(classes=80), 64, seed=1).codes
    found = hashlib.sha256(np.packbits(codes > 0).tobytes()).hexdigest()[:16]
    assert found == "24d03322200cf9c8"


def test_many_classes_are_bounded_and_tell_their_progress() -> None:
    told: list[str] = []

    def track(steps: Any, description: str, total: int | None = None, /) -> Iterator[Any]:
        for step in steps:
            told.append(description)
            yield step

    labels = np.random.default_rng(0).random((300, 200)) < 0.02
    first = affinity_proxies(labels, 24, track=track)
    assert set(told) == {"proxies of 200 classes"}
    assert len(told) <= 5 * 100
    assert np.array_equal(first.codes, affinity_proxies(labels, 24).codes)
