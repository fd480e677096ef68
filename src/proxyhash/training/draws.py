"""Random numbers that depend on a seed, an epoch and an item alone, by SplitMix64.

So augmentation is the same whatever the batches, worker threads and processes are, and a resumed
run goes on as if it had not been interrupted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["uniform_draws"]

_STEP = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def uniform_draws(
    items: NDArray[np.int64], count: int, *, seed: int, epoch: int
) -> NDArray[np.float64]:
    """Return `count` numbers for each item, uniform in [0, 1), shape (b, count).

    The stream of an item is that of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) from a state in
    which seed, epoch and item were mixed one after the other.
    """
    state = np.zeros(len(items), np.uint64)
    for part in (seed & _MASK, epoch & _MASK, items.astype(np.uint64)):
        state = _mixed(state + np.uint64(_STEP) ^ np.asarray(part, np.uint64))
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_STEP)
    bits = _mixed(state[:, None] + steps)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the output function of SplitMix64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(_FIRST)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(_SECOND)
    return values ^ (values >> np.uint64(31))
