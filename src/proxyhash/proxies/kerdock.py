"""Kerdock codes, of which the shortest is the Nordstrom-Robinson code (16, 256, 6).

They hold twice as many words as any linear code can at their length and distance. Over the
integers modulo 4 they *are* linear, and the Gray map turns them into bits.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64, UInt8

__all__ = ["KERDOCK_LENGTHS", "kerdock"]

FIELD_POLYNOMIALS = {16: [1, 1, 0, 1], 64: [1, 0, 1, 0, 0, 1]}
"""By code length 2^(m+1): a primitive polynomial of degree m over GF(2), x^0 first, m odd."""

KERDOCK_LENGTHS = tuple(FIELD_POLYNOMIALS)


def kerdock(length: int) -> UInt8[np.ndarray, "words length"]:
    """Return all words of the Kerdock code: (16, 256, 6) or (64, 4096, 28), of 0 and 1.

    Source: Hammons, Kumar, Calderbank, Sloane, Sole, "The Z4-linearity of Kerdock, Preparata,
    Goethals, and related codes", IEEE Trans. Information Theory 40 (1994).
    """
    generator = _quaternary_generator(FIELD_POLYNOMIALS[length])
    messages = np.array(np.meshgrid(*[np.arange(4)] * len(generator), indexing="ij"))
    words = messages.reshape(len(generator), -1).T @ generator % 4
    return _gray(words)


def _quaternary_generator(polynomial: list[int]) -> Int64[np.ndarray, "rows n"]:
    """Return all ones, and the powers of a root of the lifted polynomial behind a zero."""
    degree = len(polynomial) - 1
    lifted = _lift(polynomial)
    columns = [np.zeros(degree, np.int64), np.eye(degree, dtype=np.int64)[0]]
    while len(columns) < 2**degree:
        last = columns[-1]
        shifted = np.concatenate([[0], last[:-1]])
        columns.append((shifted - last[-1] * lifted[:-1]) % 4)
    ones = np.ones(2**degree, np.int64)
    return np.concatenate([ones[None], np.array(columns).T])


def _lift(polynomial: list[int]) -> Int64[np.ndarray, " terms"]:
    """Return the monic polynomial modulo 4 whose roots are those roots of unity: Graeffe's way.

    With f(x) = e(x) + o(x), even and odd part, the lift g has g(x^2) = +-(e(x)^2 - o(x)^2).
    """
    coefficients = np.array(polynomial, np.int64)
    odd_places = np.arange(len(coefficients)) % 2 == 1
    even, odd = np.where(odd_places, 0, coefficients), np.where(odd_places, coefficients, 0)
    squared = (np.convolve(even, even) - np.convolve(odd, odd))[::2]
    lifted: np.ndarray = squared * squared[-1] % 4
    return lifted


def _gray(words: Int64[np.ndarray, "words n"]) -> UInt8[np.ndarray, "words length"]:
    """Return two bits for each value modulo 4: 0 -> 00, 1 -> 01, 2 -> 11, 3 -> 10."""
    high = words >= 2
    low = (words == 1) | (words == 2)
    return np.concatenate([high, low], axis=1).astype(np.uint8)
