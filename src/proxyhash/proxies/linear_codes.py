"""Binary linear codes: a search over generator columns, and extended BCH codes.

A linear code [n, k, d] has 2^k words of n bits, and its minimum distance d is the smallest number
of ones in a word other than zero.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8

__all__ = ["extended_bch", "griesmer_bound", "search_generator", "span"]

SHARPNESS = 1.0
"""How much more a word counts in the search than one with a one-bit larger weight, as exponent."""

PRIMITIVE_POLYNOMIALS = {4: 0b10011, 5: 0b100101, 6: 0b1000011, 7: 0b10001001, 8: 0b100011101}
"""By degree m: the field polynomial of GF(2^m), bit i the coefficient of x^i."""


def span(generator: UInt8[np.ndarray, "k n"]) -> UInt8[np.ndarray, "words n"]:
    """Return all 2^k words of the code, of 0 and 1; word 0 is zero, word u combines u's rows."""
    words = np.zeros((1, generator.shape[1]), np.uint8)
    for row in generator:
        words = np.concatenate([words, words ^ row])
    return words


def griesmer_bound(length: int, dimension: int) -> int:
    """Return an upper bound on the minimum distance of a linear code [length, dimension].

    Source: Griesmer (1960): n >= sum_{i < k} ceil(d / 2^i).
    """
    distance = length
    while sum(-(-distance // 2**i) for i in range(dimension)) > length:
        distance -= 1
    return distance


def search_generator(
    length: int, dimension: int, *, seed: int, restarts: int = 3, steps: int = 200
) -> UInt8[np.ndarray, "k n"]:
    """Return the generator of the best code [length, dimension] found by seeded tabu search.

    Every column of a generator is one of the 2^k - 1 nonzero vectors of k bits, and a word's
    weight counts the columns that its message has an odd overlap with. Each step exchanges one
    column so that sum over words of exp(-weight) falls most, where a column that just left may not
    come back at once. The search ends at the Griesmer bound.

    Peak memory: 12 bytes * 4^k, so k up to 12 is practical.
    """
    odd = _overlap_parity(dimension)[1:, 1:]
    rng = np.random.default_rng(seed)
    bound = griesmer_bound(length, dimension)
    best_weight, best = -1, np.zeros(0, np.int64)
    for _ in range(restarts):
        columns = _first_columns(length, dimension, rng) - 1
        weights = odd[:, columns].sum(axis=1)
        tabu_until = np.zeros(len(odd), np.int64)
        for step in range(steps + 1):
            if weights.min() > best_weight:
                best_weight, best = int(weights.min()), columns.copy()
            if best_weight >= bound or step == steps:
                break
            leaving, entering = _best_exchange(odd, columns, weights, tabu_until > step)
            tabu_until[columns[leaving]] = step + rng.integers(5, 15)
            weights += odd[:, entering] - odd[:, columns[leaving]]
            columns[leaving] = entering
        if best_weight >= bound:
            break
    rows = np.arange(dimension)[:, None]
    return ((best + 1)[None, :] >> rows & 1).astype(np.uint8)


def extended_bch(length: int, dimension: int) -> UInt8[np.ndarray, "k n"] | None:
    """Return `dimension` rows of an extended primitive BCH code, cut to `length` columns.

    The code has the largest designed distance that leaves enough rows. At lengths 16, 32, 64, 128
    and 256 nothing is cut. None where no field of `PRIMITIVE_POLYNOMIALS` is large enough.

    Source: Bose and Ray-Chaudhuri (1960); Hocquenghem (1959).
    """
    degree = max(4, (length - 1).bit_length())
    if degree not in PRIMITIVE_POLYNOMIALS or dimension >= 2**degree:
        return None
    n = 2**degree - 1
    polynomial = _bch_polynomial(degree, dimension)
    shifts = np.zeros((dimension, n + 1), np.uint8)
    for row in range(dimension):
        shifts[row, row : row + len(polynomial)] = polynomial
    shifts[:, n] = shifts.sum(axis=1) % 2
    return np.ascontiguousarray(shifts[:, :length])


def _overlap_parity(dimension: int) -> Float32[np.ndarray, "words words"]:
    """Return the parity of the common ones of u and v, for all u, v below 2^k."""
    numbers = np.arange(2**dimension)
    return (np.bitwise_count(numbers[:, None] & numbers[None, :]) & 1).astype(np.float32)


def _first_columns(length: int, dimension: int, rng: np.random.Generator) -> np.ndarray:
    """Return random nonzero columns that hold the unit vectors, so that all words differ."""
    units = 2 ** np.arange(dimension)
    rest = rng.integers(1, 2**dimension, size=length - dimension)
    return np.concatenate([units, rest])


def _best_exchange(
    odd: Float32[np.ndarray, "words columns"],
    columns: np.ndarray,
    weights: Float32[np.ndarray, " words"],
    forbidden: np.ndarray,
) -> tuple[int, int]:
    """Return which of `columns` to take out, and which column to put in its place.

    exp(-s * odd) is 1 - (1 - exp(-s)) * odd for a bit, so the sums over words of all exchanges
    are one matrix product.
    """
    cost = np.exp(-SHARPNESS * (weights - weights.min()))
    without = cost[:, None] * (1 + np.float32(np.expm1(SHARPNESS)) * odd[:, columns])
    after = without.sum(axis=0)[:, None] + np.float32(np.expm1(-SHARPNESS)) * (without.T @ odd)
    after[:, forbidden] = np.inf
    leaving, entering = np.unravel_index(int(after.argmin()), after.shape)
    return int(leaving), int(entering)


def _bch_polynomial(degree: int, dimension: int) -> UInt8[np.ndarray, " terms"]:
    """Return the BCH generator polynomial of highest degree that leaves `dimension` rows.

    It is the product of the minimal polynomials of alpha, alpha^3, alpha^5, ...
    """
    n = 2**degree - 1
    powers = _field_powers(degree)
    product = np.ones(1, np.uint8)
    seen: set[int] = set()
    for exponent in range(1, n, 2):
        if exponent in seen:
            continue
        coset = sorted({exponent * 2**i % n for i in range(degree)})
        seen.update(coset)
        if len(product) - 1 + len(coset) > n - dimension:
            break
        product = np.convolve(product, _minimal_polynomial(coset, powers)) % 2
    return product.astype(np.uint8)


def _field_powers(degree: int) -> list[int]:
    """Return alpha^0, alpha^1, ... of GF(2^degree) as bit patterns."""
    powers, value = [], 1
    for _ in range(2**degree - 1):
        powers.append(value)
        value <<= 1
        if value >> degree:
            value ^= PRIMITIVE_POLYNOMIALS[degree]
    return powers


def _minimal_polynomial(coset: list[int], powers: list[int]) -> UInt8[np.ndarray, " terms"]:
    """Return prod_{e in coset} (x - alpha^e), whose coefficients are all 0 or 1."""
    logarithm = {value: exponent for exponent, value in enumerate(powers)}

    def times(value: int, exponent: int) -> int:
        return powers[(logarithm[value] + exponent) % len(powers)] if value else 0

    coefficients = [1]
    for exponent in coset:
        shifted = [0, *coefficients]
        scaled = [*(times(value, exponent) for value in coefficients), 0]
        coefficients = [a ^ b for a, b in zip(shifted, scaled, strict=True)]
    return np.array(coefficients, np.uint8)
