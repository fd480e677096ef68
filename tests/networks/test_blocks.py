"""Few items go through a network as they are, and get the bits that a block would give them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from proxyhash.networks import NETWORKS, Network, blocks
from proxyhash.networks.hashing_network import HashingNetwork


@pytest.fixture(params=["hashing", "posterior"])
def network(request: pytest.FixtureRequest) -> Network:
    kind = NETWORKS[request.param]
    return kind.make(300, 48, classes=7, hidden=(128,), seed=1).eval()


@pytest.mark.parametrize("count", [0, 1, 3, 16, 17, 200])
def test_signs_are_those_of_the_blocks(network: Network, count: int) -> None:
    features = np.random.default_rng(count).standard_normal((count, 300)).astype(np.float32)
    exact = blocks.block_logits(network, features, modality="text")
    found = blocks.sign_logits(network, features, modality="text")
    assert found.shape == (count, 48)
    assert ((found > 0) == (exact > 0)).all()
    assert np.allclose(found, exact, atol=1e-5)


def test_single_items_have_the_signs_of_the_blocks(network: Network) -> None:
    features = np.random.default_rng(0).standard_normal((500, 300)).astype(np.float32)
    exact = blocks.block_logits(network, features, modality="text") > 0
    alone = [blocks.sign_logits(network, row[None], modality="text")[0] > 0 for row in features]
    assert (np.array(alone) == exact).all()


def test_a_block_decides_where_rounding_could(monkeypatch: pytest.MonkeyPatch) -> None:
    network = HashingNetwork(2, 2, hidden=(), seed=0)
    (linear,) = network.layers
    assert isinstance(linear, torch.nn.Linear)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(2))
        linear.bias.zero_()
    asked: list[list[list[float]]] = []

    def block(network: HashingNetwork, features: np.ndarray, *, modality: str) -> np.ndarray:
        asked.append(features.tolist())
        return np.full((len(features), 2), -1, np.float32)

    monkeypatch.setattr(blocks, "block_logits", block)
    rows = np.array([[1, 0.01], [1, 0.00001], [0, 0], [np.nan, 1], [-1, 1]], np.float32)
    found = blocks.sign_logits(network, rows, modality="text")
    assert (found > 0).tolist() == [[True, True], *[[False, False]] * 3, [False, True]]
    (decided,) = asked
    assert np.array_equal(np.array(decided, np.float32), rows[1:4], equal_nan=True)
