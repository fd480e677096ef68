"""Sets of words: a measure of quality, the choice of a set from a larger code, and local search."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int8, Num

from proxyhash.proxies.proxies import pairwise_distances

__all__ = ["choose_words", "pair_energy", "search_words", "set_energy"]

ENERGY_SHARPNESS = 8.0
OPPOSITE_WEIGHT = 0.05

SEARCH_SHARPNESS = (0.2, 0.4, 0.8, 1.2, 1.6)
"""Rising sharpness t of the search at 16 bits: all pairs count at first, the closest at the end."""

SWEEPS = 40
"""Largest number of passes over all words at one sharpness."""


def pair_energy(
    distances: Num[np.ndarray, "*shape"], *, bits: int
) -> Float32[np.ndarray, "*shape"]:
    """Return the penalty exp(8 cos) + exp(-8 cos) / 20 for two words at these distances.

    Near words confuse two classes. Opposite words cost less: no code is near both, which an item
    of both classes would need.
    """
    cosine = (1 - 2 * distances / bits).astype(np.float32)
    near, opposite = np.exp(ENERGY_SHARPNESS * cosine), np.exp(-ENERGY_SHARPNESS * cosine)
    energy: np.ndarray = near + OPPOSITE_WEIGHT * opposite
    return energy


def set_energy(words: Int8[np.ndarray, "c k"]) -> float:
    """Return the mean `pair_energy` over all pairs of the set; 0 without pairs."""
    count, bits = words.shape
    if count < 2:
        return 0.0
    energy = pair_energy(pairwise_distances(words), bits=bits).astype(np.float64)
    return float((energy.sum() - np.trace(energy)) / (count * (count - 1)))


def choose_words(
    code: Int8[np.ndarray, "words k"], count: int, *, seed: int
) -> Int8[np.ndarray, "c k"]:
    """Return `count` words of the code, of low `set_energy`.

    Starts from a random choice and makes the best exchange of one word until none lowers the
    energy. The bits of a low-energy set are balanced.

    Peak memory: 16 bytes per pair of words in the code.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(code))
    inside, outside = order[:count], order[count:]
    if not len(outside):
        return code[np.sort(inside)]
    energy = pair_energy(pairwise_distances(code), bits=code.shape[1])
    np.fill_diagonal(energy, 0)
    to_set = energy[:, inside].sum(axis=1)
    while True:
        change = to_set[outside][None, :] - to_set[inside][:, None] - energy[inside][:, outside]
        leaving, entering = np.unravel_index(int(change.argmin()), change.shape)
        # Below this, rounding could make the exchange repeat forever.
        if change[leaving, entering] >= -1e-4 * abs(to_set[inside[leaving]]):
            return code[np.sort(inside)]
        old, new = inside[leaving], outside[entering]
        to_set += energy[:, new] - energy[:, old]
        inside[leaving], outside[entering] = new, old


def search_words(count: int, bits: int, *, seed: int, restarts: int = 8) -> Int8[np.ndarray, "c k"]:
    """Return the `count` words of `bits` bits with the largest minimum distance found.

    Starts from random words and flips one bit at a time, the one of its word that lowers

        sum_{i < j} exp(t * p_i . p_j)

    most, until no flip lowers it; then continues with a larger t.
    """
    best_distance, best = -1.0, np.ones((count, bits), np.int8)
    for restart in range(restarts):
        rng = np.random.default_rng([seed, restart])
        words = rng.choice(np.array([-1, 1], np.float32), size=(count, bits))
        similarity = words @ words.T
        np.fill_diagonal(similarity, -np.inf)  # a word does not compete with itself
        for sharpness in SEARCH_SHARPNESS:
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
    """Flip bits in place until no flip lowers the energy; update the inner products, too.

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
            # Flips that only change the rounding would never end.
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
