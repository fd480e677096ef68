from __future__ import annotations

import numpy as np
from scipy import stats

from proxyhash.training.draws import _mixed, uniform_draws

MASK = (1 << 64) - 1
STEP = 0x9E3779B97F4A7C15


def mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def slow_draws(item: int, count: int, *, seed: int, epoch: int) -> list[float]:
    """The documented stream with Python's own integers."""
    state = 0
    for part in (seed, epoch, item):
        state = mix(((state + STEP) & MASK) ^ (part & MASK))
    return [(mix((state + k * STEP) & MASK) >> 11) / 2**53 for k in range(1, count + 1)]


def test_the_mixing_is_splitmix64() -> None:
    # The first outputs for the state 1234567, as published with the reference implementation.
    wanted = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    states = (1234567 + np.arange(1, 4, dtype=np.uint64) * np.uint64(STEP)).astype(np.uint64)
    assert _mixed(states).tolist() == wanted


def test_the_draws_are_those_of_slow_integers() -> None:
    items = np.array([0, 1, 7, 123_456_789, 2**40])
    for seed, epoch in ((0, 0), (0, 1), (-1, 3), (2**63, 10**6)):
        found = uniform_draws(items, 5, seed=seed, epoch=epoch)
        wanted = [slow_draws(item, 5, seed=seed, epoch=epoch) for item in items.tolist()]
        assert found.tolist() == wanted


def test_they_depend_on_the_item_alone_not_on_the_batch() -> None:
    items = np.arange(50)
    whole = uniform_draws(items, 9, seed=3, epoch=2)
    order = np.random.default_rng(0).permutation(50)
    np.testing.assert_array_equal(uniform_draws(items[order], 9, seed=3, epoch=2), whole[order])
    np.testing.assert_array_equal(uniform_draws(items[[17]], 4, seed=3, epoch=2), whole[[17], :4])


def test_they_are_uniform_and_independent() -> None:
    draws = uniform_draws(np.arange(20_000), 3, seed=0, epoch=0)
    assert draws.min() >= 0
    assert draws.max() < 1
    for column in draws.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    others = [
        draws[:, 1],
        np.roll(draws[:, 0], 1),
        uniform_draws(np.arange(20_000), 1, seed=0, epoch=1)[:, 0],
        uniform_draws(np.arange(20_000), 1, seed=1, epoch=0)[:, 0],
    ]
    for other in others:  # five standard deviations of an independent pair's
        assert abs(np.corrcoef(draws[:, 0], other)[0, 1]) < 5 / np.sqrt(20_000)
