from __future__ import annotations

import torch

from proxyhash.networks.linear import Linear
from proxyhash.training.devices import derive_seed, seeded, use_precision


def test_seeds_differ_in_every_part_and_stay():
    seeds = {derive_seed(seed, epoch) for seed in range(30) for epoch in range(30)}
    assert len(seeds) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)
    # Written down: a change would break the resume of runs from earlier versions.
    assert derive_seed(0, 1) == 2918264622725855778


def test_the_block_repeats_and_the_surroundings_go_on():
    torch.manual_seed(5)
    torch.rand(1)
    expected = torch.rand(3)
    torch.manual_seed(5)
    torch.rand(1)
    with seeded(1, 2):
        first = torch.rand(4)
    assert torch.equal(torch.rand(3), expected)
    with seeded(1, 2):
        assert torch.equal(torch.rand(4), first)
    with seeded(1, 3):
        assert not torch.equal(torch.rand(4), first)


def test_a_precision_holds_inside_its_block_alone():
    layer, features = Linear(256, 64), torch.randn(8, 256)
    plain = layer(features)
    with use_precision("bfloat16"):
        assert not torch.equal(layer(features), plain)
        with use_precision("float32"):
            assert torch.equal(layer(features), plain)
    assert torch.equal(layer(features), plain)
