"""Codebooks: proxies at large distances, from coding theory or a search.

The closest proxies of a PHNet are much closer than necessary: at 64 bits and 80 classes it reaches
a minimum distance of about 21, a Hadamard matrix 32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int8, UInt8

from proxyhash.errors import UsageError
from proxyhash.networks.tensors import one_thread
from proxyhash.progress import Track, silent
from proxyhash.proxies.known_codes import (
    KERDOCK_LENGTHS,
    extended_bch,
    hadamard,
    kerdock,
    next_hadamard_order,
    search_generator,
    span,
)
from proxyhash.proxies.proxies import Proxies, check_capacity
from proxyhash.proxies.word_sets import choose_words, search_words, set_energy

__all__ = [
    "LARGEST_CODEBOOK",
    "Code",
    "candidate_codes",
    "hadamard_codebook",
    "make_codebook",
    "search_codebook",
]

LARGEST_CODEBOOK = 4096
"""Largest number of classes of a codebook."""

LARGEST_POOL = 1024
"""Largest number of words to choose from; a larger code is sampled at random first."""


@dataclass(frozen=True)
class Code:
    """Words to choose proxies from.

    Attributes:
        words: (M, K) of -1 and +1, at least as many as there are classes.
        origin: "hadamard", "kerdock", "linear", "bch" or "search".
    """

    words: Int8[np.ndarray, "words k"]
    origin: str


@one_thread()
def make_codebook(classes: int, bits: int, *, seed: int = 0, track: Track = silent) -> Proxies:
    """Return the best proxies among all `candidate_codes`, for few classes within seconds.

    The largest minimum distance wins; among equals the lowest `set_energy`, which avoids opposite
    words and balances the bits. The order of the words is arbitrary; `assign_by_cooccurrence` gives
    them to the classes.

    Args:
        classes: number of classes C, at most 4096.
        bits: code length K.
        seed: equal seeds give equal proxies.
        track: reports progress per candidate.

    Raises:
        UsageError: there are fewer codes than classes, or too many classes.
    """
    check_capacity(classes, bits)
    if classes > LARGEST_CODEBOOK:
        raise UsageError(
            f"a codebook for {classes} classes was requested and the largest has "
            f"{LARGEST_CODEBOOK}; use the proxies 'phnet'"
        )
    books = [
        _choose(code, classes, seed=seed)
        for code in track(
            candidate_codes(classes, bits, seed=seed), f"codebook of {classes:,} classes"
        )
    ]
    return max(books, key=lambda book: (book.minimum_distance, -set_energy(book.codes)))


@one_thread()
def hadamard_codebook(classes: int, bits: int, *, seed: int = 0) -> Proxies:
    """Return rows of a Hadamard matrix and their negatives, at distance K/2 or more.

    Where K is not the order of a matrix, the last columns of the next larger one are removed, which
    costs up to one bit of distance each.

    Raises:
        UsageError: there are more classes than rows and their negatives.
    """
    check_capacity(classes, bits)
    code = _hadamard_code(classes, bits)
    if code is None:
        raise UsageError(
            f"{classes} classes of {bits} bits have no Hadamard codebook "
            f"(at most {2 * next_hadamard_order(bits)}); use make_codebook, or more bits"
        )
    return _choose(code, classes, seed=seed)


@one_thread()
def search_codebook(classes: int, bits: int, *, seed: int = 0) -> Proxies:
    """Return proxies found by bit-flip local search; see `search_words`."""
    check_capacity(classes, bits)
    return _choose(_search_code(classes, bits, seed=seed), classes, seed=seed)


def candidate_codes(classes: int, bits: int, *, seed: int) -> Iterator[Code]:
    """Yield the candidate codes of at least C words at K bits."""
    code = _hadamard_code(classes, bits)
    if code is not None:
        yield code
    if bits in KERDOCK_LENGTHS and 2 * bits < classes <= bits**2:
        yield Code(_signs(kerdock(bits)), "kerdock")
    dimension = max(1, (classes - 1).bit_length())
    if dimension <= 9:
        generator = search_generator(bits, dimension, seed=seed)
    else:
        generator = search_generator(bits, dimension, seed=seed, restarts=1, steps=20)
        rows = extended_bch(bits, dimension)
        if rows is not None:
            yield Code(_signs(span(rows)), "bch")
    yield Code(_signs(span(generator)), "linear")
    # For more classes the codes above are better, and the search is slow.
    if classes <= 2 * bits:
        yield _search_code(classes, bits, seed=seed)


def _hadamard_code(classes: int, bits: int) -> Code | None:
    matrix = hadamard(next_hadamard_order(bits))
    if matrix is None or classes > 2 * len(matrix):
        return None
    return Code(np.concatenate([matrix, -matrix])[:, :bits], "hadamard")


def _search_code(classes: int, bits: int, *, seed: int) -> Code:
    restarts = 8 if classes * bits <= 100 * 128 else 1
    return Code(search_words(classes, bits, seed=seed, restarts=restarts), "search")


def _signs(words: UInt8[np.ndarray, "words k"]) -> Int8[np.ndarray, "words k"]:
    """Return -1 for bit 0 and +1 for bit 1."""
    return (2 * words.astype(np.int8) - 1).astype(np.int8)


def _choose(code: Code, classes: int, *, seed: int) -> Proxies:
    words = code.words
    limit = max(classes, LARGEST_POOL)
    if len(words) > limit:
        keep = np.random.default_rng(seed).choice(len(words), size=limit, replace=False)
        words = words[np.sort(keep)]
    return Proxies(codes=choose_words(words, classes, seed=seed), origin=code.origin)
