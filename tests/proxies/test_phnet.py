"""PHNet: its loss against a loop, and the proxies it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from proxyhash.errors import UsageError
from proxyhash.proxies.phnet import PHNet, learn_phnet, phnet_loss
from tests.losses import reference


def test_loss_is_that_of_the_formula() -> None:
    outputs = torch.rand(5, 8, generator=torch.Generator().manual_seed(0)).double() * 1.8 - 0.9
    rows = outputs.tolist()
    signs = [[1.0 if value > 0 else -1.0 for value in row] for row in rows]
    expected = (
        reference.separation(rows)
        + 0.05 * reference.balance(rows)
        + 2.0 * reference.quantize(rows, signs)
    )
    assert phnet_loss(outputs, beta=2.0).item() == pytest.approx(expected)


def test_outputs_are_relaxed_proxies() -> None:
    outputs = PHNet(6, 16, hidden=32)()
    assert outputs.shape == (6, 16)
    assert outputs.abs().max() < 1


@pytest.mark.parametrize(
    ("classes", "bits", "distance"), [(24, 16, 4), (24, 32, 9), (80, 32, 6), (80, 64, 18)]
)
def test_learned_proxies_are_at_least_as_far_apart_as_the_released_ones(
    classes: int, bits: int, distance: int
) -> None:
    proxies = learn_phnet(classes, bits)
    assert proxies.origin == "phnet"
    assert proxies.codes.shape == (classes, bits)
    assert proxies.minimum_distance >= distance
    assert proxies.bit_balance < 0.05


@pytest.mark.parametrize("width", [512, pytest.param(4096, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("classes", "bits", "distance"),
    [(24, 16, 4), (24, 32, 9), (24, 64, 24), (80, 16, 2), (80, 32, 6), (80, 64, 18)],
)
def test_no_width_gives_two_classes_one_proxy(
    classes: int, bits: int, distance: int, width: int
) -> None:
    assert learn_phnet(classes, bits, hidden=width).minimum_distance >= distance


def test_a_rate_of_the_narrow_network_saturates_the_wide_one() -> None:
    with pytest.raises(UsageError, match="same 32-bit proxy to two of 24 classes"):
        learn_phnet(24, 32, hidden=4096, learning_rate=1e-2)


def test_training_lowers_the_loss() -> None:
    before = PHNet(12, 32)()
    after = learn_phnet(12, 32).tensor()
    assert phnet_loss(after) < phnet_loss(before) / 5


def test_equal_seeds_give_equal_proxies_whatever_the_threads() -> None:
    threads = torch.get_num_threads()
    first = learn_phnet(10, 16, seed=3, steps=50)
    torch.set_num_threads(2 if threads == 1 else 1)
    try:
        with torch.no_grad():
            second = learn_phnet(10, 16, seed=3, steps=50)
        assert torch.get_num_threads() != threads
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(first.codes, second.codes)
    assert not np.array_equal(first.codes, learn_phnet(10, 16, seed=4, steps=50).codes)


@pytest.mark.parametrize("classes", [1, 2])
def test_few_classes(classes: int) -> None:
    assert learn_phnet(classes, 8, steps=50).codes.shape == (classes, 8)


def test_what_cannot_be_learned_is_said() -> None:
    with pytest.raises(UsageError, match="do not fit in 2 bits"):
        learn_phnet(5, 2)
    with pytest.raises(UsageError, match="steps is 0"):
        learn_phnet(5, 8, steps=0)
    with pytest.raises(UsageError, match="same 4-bit proxy to two of 16 classes"):
        learn_phnet(16, 4, steps=5)
