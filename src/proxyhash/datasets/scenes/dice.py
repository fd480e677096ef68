"""Chance that falls the same way on every machine and under every version of Python."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Dice"]

T = TypeVar("T")


class Dice:
    """Draws from a stream that its name alone determines.

    Only `Random.random` is used: Python promises that its sequence for a seed never changes, which
    it does not for `choice`, `uniform` and the rest.
    """

    def __init__(self, name: str) -> None:
        self._random = Random(name).random  # noqa: S311 -- drawings, not secrets

    def between(self, low: float, high: float) -> float:
        """A number from `low` to `high`."""
        return low + (high - low) * self._random()

    def integer(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return low + int((high - low + 1) * self._random())

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._random() < probability

    def choice(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[int(len(options) * self._random())]

    def weighted(self, weights: Mapping[T, float]) -> T:
        """One of the keys, with probability proportional to its value."""
        options = list(weights)
        left = sum(weights.values()) * self._random()
        for option in options:
            left -= weights[option]
            if left < 0:
                return option
        return options[-1]  # rounding ate the rest

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """All of the options in random order."""
        keys = [self._random() for _ in options]
        return [options[place] for place in sorted(range(len(options)), key=keys.__getitem__)]
