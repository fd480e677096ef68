"""Known codes: Hadamard matrices, Kerdock codes, and binary linear codes.

Hadamard matrices are square, of -1 and +1, with orthogonal rows. The rows and their negatives
are 2K words of K bits at distance K/2 or K; by Plotkin's bound no larger set can be that far apart.

Kerdock codes, of which the shortest is the Nordstrom-Robinson code (16, 256, 6), hold twice as many
words as any linear code of their length and distance. Over the integers modulo 4 they *are* linear,
and the Gray map turns them into bits.

A linear code [n, k, d] has 2^k words of n bits; its minimum distance d is the smallest number of
ones in a word other than zero. Here: a search over generator columns, and extended BCH codes.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int8, Int64, UInt8

__all__ = [
    "KERDOCK_LENGTHS",
    "extended_bch",
    "griesmer_bound",
    "hadamard",
    "kerdock",
    "next_hadamard_order",
    "search_generator",
    "span",
]

KERDOCK_POLYNOMIALS = {16: [1, 1, 0, 1], 64: [1, 0, 1, 0, 0, 1]}
"""By code length 2^(m+1): a primitive polynomial of degree m over GF(2), x^0 first, m odd."""

KERDOCK_LENGTHS = tuple(KERDOCK_POLYNOMIALS)

BCH_POLYNOMIALS = {4: 0b10011, 5: 0b100101, 6: 0b1000011, 7: 0b10001001, 8: 0b100011101}
"""By degree m: the field polynomial of GF(2^m), bit i the coefficient of x^i."""

SHARPNESS = 1.0
"""How much more a word counts in the search than one with a one-bit larger weight, as exponent."""


def hadamard(order: int) -> Int8[np.ndarray, "k k"] | None:
    """Return a Hadamard matrix of this order, or None where no construction here gives one.

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


def kerdock(length: int) -> UInt8[np.ndarray, "words length"]:
    """Return all words of the Kerdock code: (16, 256, 6) or (64, 4096, 28), of 0 and 1.

    Source: Hammons, Kumar, Calderbank, Sloane, Sole, "The Z4-linearity of Kerdock, Preparata,
    Goethals, and related codes", IEEE Trans. Information Theory 40 (1994).
    """
    generator = _quaternary_generator(KERDOCK_POLYNOMIALS[length])
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
    """Return the monic polynomial modulo 4 whose roots are those roots of unity (Graeffe).

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
    weight counts the columns that its message has an odd overlap with. Each step exchanges the
    column that lowers the sum over words of exp(-weight) most; a column that has just left may not
    return at once. The search ends at the Griesmer bound.

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
    and 256 nothing is cut. None where no field of `BCH_POLYNOMIALS` is large enough.

    Source: Bose and Ray-Chaudhuri (1960); Hocquenghem (1959).
    """
    degree = max(4, (length - 1).bit_length())
    if degree not in BCH_POLYNOMIALS or dimension >= 2**degree:
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
    """Return which of `columns` to remove, and the column that replaces it.

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
            value ^= BCH_POLYNOMIALS[degree]
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
