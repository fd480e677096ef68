from __future__ import annotations

import pytest
import torch
from torch import nn

from proxyhash.networks.hashing_network import HashingNetwork
from proxyhash.training.state import Networks, WeightAverage


def fill(networks: Networks, value: float) -> None:
    for weight in networks.parameters():
        nn.init.constant_(weight, value)


def test_average_follows_the_formula():
    networks = Networks(
        {"image": HashingNetwork(1, 1, hidden=()), "text": HashingNetwork(2, 1, hidden=())}
    )
    fill(networks, 1.0)
    average = WeightAverage(networks, decay=0.3)
    expected = 1.0
    for step, value in enumerate([2.0, 4.0, -1.0], start=1):
        fill(networks, value)
        average.update(networks)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    for weight in average.networks.parameters():
        assert weight.flatten().tolist() == pytest.approx([expected] * weight.numel())
    assert all((weight == -1.0).all() for weight in networks.parameters())


def test_statistics_of_batch_norm_are_copied_and_nothing_needs_gradient():
    networks = Networks(
        {"image": HashingNetwork(2, 3, hidden=(4,), batch_norm=True), "text": HashingNetwork(2, 3)}
    )
    average = WeightAverage(networks, decay=0.9)
    networks["image"](torch.randn(8, 2))
    average.update(networks)
    norm, averaged = networks["image"].layers[1], average.networks["image"].layers[1]
    assert torch.equal(norm.running_mean, averaged.running_mean)
    assert torch.equal(norm.num_batches_tracked, averaged.num_batches_tracked)
    assert not any(weight.requires_grad for weight in average.networks.parameters())
    assert not average.networks["image"].training
