"""Hadamard matrices: square matrices of -1 and +1 whose rows are orthogonal.

The rows and their negatives are 2K words of K bits at distance K/2 or K, and by Plotkin's bound
no more words can lie that far apart.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int8

__all__ = ["hadamard", "next_hadamard_order"]


def hadamard(order: int) -> Int8[np.ndarray, "k k"] | None:
    """Return a Hadamard matrix of this order, or None when none of these constructions gives one.

    Sylvester's doubling, both of Paley's constructions over the prime fields, and Kronecker
    products of those: every multiple of 4 up to 48, and of 8 up to 128.

    Source: Paley, "On Orthogonal Matrices", J. Math. Phys. 12 (1933).
    """
    if order in (1, 2):
        return np.ones((1, 1), np.int8) if order == 1 else np.array([[1, 1], [1, -1]], np.int8)
    if order < 1 or order % 4:
        return None
    half = hadamard(order // 2)
    if half is not None:
        return np.kron(np.array([[1, 1], [1, -1]], np.int8), half)
    if _is_prime(order - 1):  # order is a multiple of 4, so this prime is 3 modulo 4
        return _paley_skew(order - 1)
    if order // 2 % 4 == 2 and _is_prime(order // 2 - 1):
        return _paley_symmetric(order // 2 - 1)
    return None


def next_hadamard_order(bits: int) -> int:
    """Return the smallest order of at least `bits` that `hadamard` can build."""
    while hadamard(bits) is None:
        bits += 1
    return bits


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % factor for factor in range(2, int(number**0.5) + 1))


def _residue_matrix(prime: int) -> Int8[np.ndarray, "q q"]:
    """Return Q with Q_ij = 1 where i - j is a square modulo the prime, -1 where not, 0 for 0."""
    character = np.full(prime, -1, np.int8)
    character[np.arange(1, prime) ** 2 % prime] = 1
    character[0] = 0
    index = np.arange(prime)
    matrix: np.ndarray = character[(index[:, None] - index[None, :]) % prime]
    return matrix


def _bordered(core: Int8[np.ndarray, "q q"], *, left: int) -> Int8[np.ndarray, "n n"]:
    """Return the core with a first row of ones and a first column of `left`, 0 in the corner."""
    matrix = np.ones((len(core) + 1, len(core) + 1), np.int8)
    matrix[1:, 1:] = core
    matrix[1:, 0] = left
    matrix[0, 0] = 0
    return matrix


def _paley_skew(prime: int) -> Int8[np.ndarray, "n n"]:
    """Return Paley's first construction, of order prime + 1, for a prime that is 3 modulo 4."""
    skew = _bordered(_residue_matrix(prime), left=-1)
    return skew + np.eye(prime + 1, dtype=np.int8)


def _paley_symmetric(prime: int) -> Int8[np.ndarray, "n n"]:
    """Return Paley's second construction, of order 2 (prime + 1), for a prime 1 modulo 4."""
    symmetric = _bordered(_residue_matrix(prime), left=1)
    whole = np.kron(symmetric, np.array([[1, 1], [1, -1]], np.int8))
    diagonal = np.kron(np.eye(prime + 1, dtype=np.int8), np.array([[1, -1], [-1, -1]], np.int8))
    return whole + diagonal
