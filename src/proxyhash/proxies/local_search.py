"""Codebooks by seeded local search, for any number of classes and bits."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int8

__all__ = ["search_words"]

SHARPNESS = (0.2, 0.4, 0.8, 1.2, 1.6)
"""Rising sharpness t of the energy at 16 bits: first all pairs count, in the end the closest."""

SWEEPS = 40
"""Most passes over all words at one sharpness."""


def search_words(count: int, bits: int, *, seed: int, restarts: int = 8) -> Int8[np.ndarray, "c k"]:
    """Return the `count` words of `bits` bits with the largest minimum distance found.

    From random words, flips one bit at a time, always the one of its word that lowers

        sum_{i < j} exp(t * p_i . p_j)

    most, until no flip lowers it; then goes on with a larger t.
    """
    best_distance, best = -1.0, np.ones((count, bits), np.int8)
    for restart in range(restarts):
        rng = np.random.default_rng([seed, restart])
        words = rng.choice(np.array([-1, 1], np.float32), size=(count, bits))
        similarity = words @ words.T
        np.fill_diagonal(similarity, -np.inf)  # a word does not compete with itself
        for sharpness in SHARPNESS:
            _descend(words, similarity, sharpness * (16 / bits) ** 0.5, rng)
            distance = (bits - float(similarity.max())) / 2
            if distance > best_distance:
                best_distance, best = distance, words.astype(np.int8)
    return best


def _descend(
    words: Float32[np.ndarray, "c k"],
    similarity: Float32[np.ndarray, "c c"],
    sharpness: float,
    rng: np.random.Generator,
) -> None:
    """Flip bits in place, and keep the inner products up to date, until no flip helps.

    A flip of bit k of word i turns exp(t s_ij) into exp(t (s_ij - 2 p_ik p_jk)), and
    exp(-2 t x) = cosh(2t) - x sinh(2t) for x = -1 and +1: all K flips cost one product.
    """
    cosh, sinh = np.cosh(2 * sharpness), np.sinh(2 * sharpness)
    for _ in range(SWEEPS):
        flipped = False
        for i in rng.permutation(len(words)):
            nearest = similarity[i].max()
            if not np.isfinite(nearest):  # the only word
                return
            weights = np.exp(sharpness * (similarity[i] - nearest))
            gains = words[i] * (weights @ words)
            k = int(gains.argmax())
            # Flips that change nothing but the rounding would never end.
            if sinh * gains[k] <= (1 + 1e-6) * (cosh - 1) * weights.sum():
                continue
            change = -2 * words[i, k] * words[:, k]
            similarity[i] += change
            similarity[:, i] += change
            similarity[i, i] = -np.inf
            words[i, k] *= -1
            flipped = True
        if not flipped:
            return
