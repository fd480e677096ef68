"""Distances again, word by word, with nothing but Python."""

from __future__ import annotations

from itertools import combinations


def distances(words: list[list[int]]) -> list[int]:
    return [
        sum(a != b for a, b in zip(one, two, strict=True)) for one, two in combinations(words, 2)
    ]
