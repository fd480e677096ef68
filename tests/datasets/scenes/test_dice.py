"""Chance: the same stream for the same name, and the right odds."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.datasets.scenes.dice import Dice


@given(st.text())
def test_a_name_is_a_stream(name: str) -> None:
    first, second = Dice(name), Dice(name)
    assert [first.between(0, 1) for _ in range(3)] == [second.between(0, 1) for _ in range(3)]


def test_the_same_under_every_python() -> None:
    """From Python's promise that a seeded `Random.random` never changes."""
    dice = Dice("scene")
    assert [dice.integer(0, 99) for _ in range(6)] == [33, 14, 3, 47, 83, 76]


@given(st.integers(-5, 5), st.integers(0, 9), st.text())
def test_ranges(low: int, span: int, name: str) -> None:
    dice = Dice(name)
    for _ in range(20):
        assert low <= dice.integer(low, low + span) <= low + span
        assert low <= dice.between(low, low + span) <= low + span


def test_odds() -> None:
    dice = Dice("odds")
    counts = Counter(dice.weighted({"a": 1.0, "b": 3.0, "c": 0.0}) for _ in range(4000))
    assert counts["c"] == 0
    assert counts["b"] / counts["a"] == pytest.approx(3, rel=0.15)
    assert sum(dice.chance(0.25) for _ in range(4000)) == pytest.approx(1000, rel=0.15)
    assert set(Counter(dice.choice("xyz") for _ in range(100))) == set("xyz")


@given(st.lists(st.integers()))
def test_shuffling_keeps_everything(values: list[int]) -> None:
    assert sorted(Dice("shuffle").shuffled(values)) == sorted(values)
