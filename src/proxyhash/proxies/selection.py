"""How good a set of words is, and choosing a good set out of a larger code."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int8, Num

from proxyhash.proxies.proxies import pairwise_distances

__all__ = ["choose_words", "pair_energy", "set_energy"]

SHARPNESS = 8.0
OPPOSITE_WEIGHT = 0.05


def pair_energy(
    distances: Num[np.ndarray, "*shape"], *, bits: int
) -> Float32[np.ndarray, "*shape"]:
    """Return how bad it is for two words to lie at these distances: exp(8 cos) + exp(-8 cos) / 20.

    Near words confuse two classes. Opposite ones are the lesser evil: an item that carries
    both classes has no code that is near to both.
    """
    cosine = (1 - 2 * distances / bits).astype(np.float32)
    energy: np.ndarray = np.exp(SHARPNESS * cosine) + OPPOSITE_WEIGHT * np.exp(-SHARPNESS * cosine)
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

    Starts from a random choice and exchanges the one word that helps most until none does. The
    words of a low-energy set lean to no side, so their bits are balanced.

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
        # Rounding must not let the exchange go round in circles.
        if change[leaving, entering] >= -1e-4 * abs(to_set[inside[leaving]]):
            return code[np.sort(inside)]
        old, new = inside[leaving], outside[entering]
        to_set += energy[:, new] - energy[:, old]
        inside[leaving], outside[entering] = new, old
