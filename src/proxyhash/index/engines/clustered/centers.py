"""Coarse centers: binary codes that a collection's codes lie around, and which of them is nearest.

Centers are drawn as in k-means++ (Arthur and Vassilvitskii, 2007), with the Hamming distance, and
then moved as in Lloyd's algorithm: the majority of each bit minimizes the sum of distances.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from proxyhash.codes.kernels import kernel, popcount, run_blocks

if TYPE_CHECKING:
    from proxyhash.codes import Codes

__all__ = ["Words", "as_long_words", "assign", "choose_centers"]

Words = npt.NDArray[np.uint64]
"""Codes padded with zeros to whole words, uint64 (n, W): distances stay what they are."""

SAMPLE = 48
"""Codes drawn for each center."""

ROUNDS = 5
"""How often centers move; more changes the search by less than can be measured."""

BLOCK = 1 << 14
"""Codes assigned by one call of the kernel, which takes some milliseconds."""


def as_long_words(codes: Codes) -> Words:
    """Return packed codes (n, B) as a new array of uint64 words (n, ceil(B/8))."""
    count, width = codes.shape
    words = np.zeros((count, -(-width // 8)), np.uint64)
    words.view(np.uint8)[:, :width] = codes
    return words


def choose_centers(codes: Codes, *, count: int, seed: int = 0, threads: int | None = None) -> Words:
    """Return at most `count` centers, uint64 (C, W); fewer where the codes repeat.

    Args:
        codes: packed codes (n, B); none get one center.
        count: how many centers to look for.
        seed: of the sample, and of the draw of the first centers.
        threads: how many threads to use; default all cores.
    """
    if not len(codes):
        return as_long_words(np.zeros((1, codes.shape[1]), np.uint8))
    rng = np.random.default_rng(seed)
    size = min(len(codes), SAMPLE * count)
    sample = as_long_words(codes[np.sort(rng.choice(len(codes), size, replace=False))])
    centers = sample[_spread(sample, rng.random(min(count, size)))]
    for _ in range(ROUNDS):
        lists, _ = assign(sample, centers, threads=threads)
        moved = _majorities(sample, lists, centers)
        if np.array_equal(moved, centers):
            break
        centers = moved
    return np.unique(centers, axis=0)


def assign(
    words: Words, centers: Words, *, threads: int | None = None
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint16]]:
    """Return each code's nearest center, uint32 (n,), and its distance, uint16 (n,)."""
    lists, distances = np.empty(len(words), np.uint32), np.empty(len(words), np.uint16)

    def work(start: int, stop: int) -> None:
        _assign(words[start:stop], centers, lists[start:stop], distances[start:stop])

    run_blocks(work, len(words), threads=threads, block=BLOCK)
    return lists, distances


@kernel
def _assign(
    words: Words,
    centers: Words,
    lists: npt.NDArray[np.uint32],
    distances: npt.NDArray[np.uint16],
) -> None:
    # A few codes at a time against every center: both stay in the nearest cache, and the inner
    # loops are free of branches. The smallest of (distance, center) is the smallest number.
    lanes = 512
    width = words.shape[1]
    places = np.empty((width, lanes), np.uint64)
    totals = np.empty(lanes, np.uint64)
    best = np.empty(lanes, np.uint64)
    for first in range(0, words.shape[0], lanes):
        size = min(lanes, words.shape[0] - first)
        for lane in range(size):
            for place in range(width):
                places[place, lane] = words[first + lane, place]
        best[:] = np.uint64(0xFFFFFFFFFFFFFFFF)
        for center in range(centers.shape[0]):
            number = np.uint64(center)
            if width == 1:
                word, row = centers[center, 0], places[0]
                for lane in range(size):
                    key = (popcount(row[lane] ^ word) << np.uint64(32)) | number
                    best[lane] = min(best[lane], key)
            else:
                totals[:] = 0
                for place in range(width):
                    word, row = centers[center, place], places[place]
                    for lane in range(size):
                        totals[lane] += popcount(row[lane] ^ word)
                for lane in range(size):
                    best[lane] = min(best[lane], (totals[lane] << np.uint64(32)) | number)
        for lane in range(size):
            lists[first + lane] = np.uint32(best[lane] & np.uint64(0xFFFFFFFF))
            distances[first + lane] = np.uint16(best[lane] >> np.uint64(32))


@kernel
def _spread(sample: Words, draws: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return rows of the sample, each drawn in proportion to its squared distance to those before.

    `draws` are numbers in [0, 1), one per row to be drawn. Ends early when nothing is left out.
    """
    size, width = sample.shape
    chosen = np.empty(draws.size, np.int64)
    gap = np.full(size, np.int64(1) << 20)
    for place in range(draws.size):
        total = 0.0
        for item in range(size):
            total += np.float64(gap[item]) * np.float64(gap[item])
        if total == 0.0:
            return chosen[:place]
        target, pick = draws[place] * total, size - 1
        for item in range(size):
            target -= np.float64(gap[item]) * np.float64(gap[item])
            if target < 0.0:
                pick = item
                break
        chosen[place] = pick
        for item in range(size):
            distance = np.int64(0)
            for word in range(width):
                distance += np.int64(popcount(sample[item, word] ^ sample[pick, word]))
            gap[item] = min(gap[item], distance)
    return chosen


@kernel
def _majorities(sample: Words, lists: npt.NDArray[np.uint32], centers: Words) -> Words:
    """Return the centers moved to the majority of each bit; one without codes stays."""
    count, width = centers.shape
    ones = np.zeros((count, width, 64), np.int32)
    sizes = np.zeros(count, np.int32)
    for item in range(sample.shape[0]):
        place = lists[item]
        sizes[place] += 1
        for word in range(width):
            bits = sample[item, word]
            for bit in range(64):
                ones[place, word, bit] += np.int32((bits >> np.uint64(bit)) & np.uint64(1))
    moved = centers.copy()
    for center in range(count):
        if sizes[center] == 0:
            continue
        for word in range(width):
            bits = np.uint64(0)
            for bit in range(64):
                if 2 * ones[center, word, bit] > sizes[center]:
                    bits |= np.uint64(1) << np.uint64(bit)
            moved[center, word] = bits
    return moved
