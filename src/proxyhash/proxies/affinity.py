"""Affinity proxies: the cosine of two proxies follows the co-occurrence of their classes.

Codewords at equal distances treat a pair of classes that often occur together like a pair that
never does. Here classes that co-occur get similar codes.

The price is a smaller minimum distance: classes that always occur together, such as a class and its
only subclass, end a bit or two apart. Short codes gain most; with many nested classes and long
codes, compare with a codebook.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice

import numpy as np
from jaxtyping import Bool, Float64

from proxyhash.errors import UsageError
from proxyhash.networks.tensors import one_thread
from proxyhash.progress import Track, silent
from proxyhash.proxies.assignment import cooccurrence
from proxyhash.proxies.proxies import Proxies, check_capacity

__all__ = ["affinity_proxies", "target_cosines"]

LARGEST_COSINE = 0.75
"""Classes that always occur together still get proxies K/8 bits apart."""

FEW_CLASSES = 128
"""Up to so many classes the proxies are those of earlier versions, bit for bit."""

RESTARTS = 8
SWEEPS = 100

MOST_VISITS = 150_000
"""Words that are visited in all for many classes, about ten seconds for 3,000 of 64 bits. Work is
counted instead of time, so that equal seeds give equal proxies on every machine."""

_log = logging.getLogger(__name__)


def target_cosines(
    labels: Bool[np.ndarray, "n c"], *, strength: float = 2.0
) -> Float64[np.ndarray, "c c"]:
    """Return the target cosine of each pair of proxies.

        t_ij = min(0.75, strength * n_ij / sqrt(n_i n_j))

    It is 0 for classes that never occur together.
    """
    return np.minimum(LARGEST_COSINE, strength * cooccurrence(labels))


@one_thread()
def affinity_proxies(
    labels: Bool[np.ndarray, "n c"],
    bits: int,
    *,
    seed: int = 0,
    strength: float = 2.0,
    track: Track = silent,
) -> Proxies:
    """Return proxies whose cosines follow the co-occurrence of their classes.

    Minimizes sum_{i < j} (p_i . p_j / K - t_ij)^2 over signs by seeded bit-flip descent; see
    `target_cosines` for t. An item with several labels then has a code near all their proxies.
    For many classes the descent ends after a fixed amount of work, see `MOST_VISITS`; the mean
    squared error that it reached is logged.

    Args:
        labels: multi-hot labels of the training items, (n, C).
        bits: code length K.
        seed: equal seeds give equal proxies.
        strength: how much closer related proxies are; 0 makes all target cosines 0.
        track: reports progress per pass over the words.

    Raises:
        UsageError: there are fewer codes than classes, or no distinct codes were found.
    """
    classes = labels.shape[1]
    check_capacity(classes, bits)
    if strength < 0:
        raise UsageError(f"strength is {strength}; it must be at least 0")
    target = bits * target_cosines(labels, strength=strength)
    best_cost, best = np.inf, np.ones((classes, bits))
    many = classes > FEW_CLASSES
    restarts = max(1, min(RESTARTS, 1000 // classes)) if many else RESTARTS
    sweeps = max(1, min(SWEEPS, MOST_VISITS // (classes * restarts)))
    passes = iter(
        track(range(restarts * sweeps), f"proxies of {classes:,} classes", restarts * sweeps)
    )
    for restart in range(restarts):
        rng = np.random.default_rng([seed, restart])
        words = rng.choice(np.array([-1.0, 1.0]), size=(classes, bits))
        if many:
            _descend_many(words, target, rng, islice(passes, sweeps))
        else:
            _descend(words, target, rng)
        _separate_equal_words(words, target)
        cost = _cost(words, target)
        if cost < best_cost:
            best_cost, best = cost, words
    pairs = max(classes * (classes - 1), 1)
    _log.info(
        "affinity proxies of %d classes: mean squared error of the cosines %.6f, %d starts of up "
        "to %d passes", classes, best_cost / (pairs * bits**2), restarts, sweeps,
    )  # fmt: skip
    return Proxies(codes=best.astype(np.int8), origin="affinity")


def _cost(words: Float64[np.ndarray, "c k"], target: Float64[np.ndarray, "c c"]) -> float:
    error = words @ words.T - target
    np.fill_diagonal(error, 0)
    return float(np.square(error).sum())


def _changes(
    words: Float64[np.ndarray, "c k"], target: Float64[np.ndarray, "c c"], i: int
) -> Float64[np.ndarray, " k"]:
    """Return the change of the cost by flipping each bit of word i.

    Flipping bit k changes the product with word j by -2 x_jk, where x_jk = p_ik p_jk, and the
    squared error e_j^2 by 4 - 4 e_j x_jk.
    """
    error = words @ words[i] - target[i]
    error[i] = 0
    change: np.ndarray = 4 * (len(words) - 1) - 4 * (error @ words) * words[i]
    return change


def _descend(
    words: Float64[np.ndarray, "c k"], target: Float64[np.ndarray, "c c"], rng: np.random.Generator
) -> None:
    """Flip the best bit of one word after another, in place, until no flip lowers the cost."""
    for _ in range(SWEEPS):
        flipped = False
        for i in map(int, rng.permutation(len(words))):
            change = _changes(words, target, i)
            k = int(change.argmin())
            if change[k] < -1e-6:
                words[i, k] *= -1
                flipped = True
        if not flipped:
            return


def _descend_many(
    words: Float64[np.ndarray, "c k"],
    target: Float64[np.ndarray, "c c"],
    rng: np.random.Generator,
    passes: Iterator[object],
) -> None:
    """Descend like `_descend`, word by word until no flip of the word helps, in O(K) per bit.

    With G = W^T W and T W kept up to date, the errors of word i times all words, which `_changes`
    adds up over C words, are G w_i - K w_i - (T W)_i.
    """
    classes, bits = words.shape
    gram = words.T @ words
    pulled = np.ascontiguousarray((target @ words).T)  # (K, C): a flip changes one row
    for _ in passes:
        flipped = False
        for i in map(int, rng.permutation(classes)):
            word = words[i]
            while True:
                gain = (gram @ word - bits * word - pulled[:, i]) * word
                k = int(gain.argmax())
                if 4 * (classes - 1) - 4 * gain[k] >= -1e-6:
                    break
                before = word[k]
                gram[k] -= 2 * before * word
                gram[:, k] = gram[k]
                gram[k, k] = classes
                pulled[k] -= 2 * before * target[i]
                word[k] = -before
                flipped = True
        if not flipped:
            return


def _separate_equal_words(
    words: Float64[np.ndarray, "c k"], target: Float64[np.ndarray, "c c"]
) -> None:
    """Flip the cheapest bit of every word that an earlier class already has, in place."""
    taken: set[bytes] = set()
    for i in range(len(words)):
        if _key(words[i]) in taken:
            for k in np.argsort(_changes(words, target, i), kind="stable"):
                words[i, k] *= -1
                if _key(words[i]) not in taken:
                    break
                words[i, k] *= -1
            else:
                raise UsageError(
                    f"two of {len(words)} classes would share a proxy of {words.shape[1]} bits; "
                    "use more bits, or the proxies 'codebook'"
                )
        taken.add(_key(words[i]))


def _key(word: Float64[np.ndarray, " k"]) -> bytes:
    return np.packbits(word > 0).tobytes()
