"""Hashing networks: shapes, the order of layers, repeatable weights, standardization."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from proxyhash.errors import UsageError
from proxyhash.networks.hashing_network import ACTIVATIONS, HashingNetwork

EVERYTHING: dict[str, Any] = {
    "hidden": (9, 7),
    "dropout": 0.5,
    "input_dropout": 0.2,
    "batch_norm": True,
    "activation": "gelu",
    "standardize": True,
    "output_batch_norm": True,
}


def _features(items: int = 12, width: int = 5) -> torch.Tensor:
    return torch.randn(items, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("options", [{}, {"hidden": ()}, EVERYTHING, {"center": True}])
def test_outputs_are_tanh_of_the_logits(options: dict[str, Any]) -> None:
    network = HashingNetwork(5, 16, **options).eval()
    outputs = network(_features())
    assert outputs.shape == (12, 16)
    assert outputs.abs().max() < 1
    torch.testing.assert_close(outputs, network.logits(_features()).tanh())
    assert (network.dim_in, network.bits) == (5, 16)


def test_without_hidden_layers_it_is_linear() -> None:
    network = HashingNetwork(5, 3, hidden=())
    weight, bias = network.parameters()
    torch.testing.assert_close(network.logits(_features()), _features() @ weight.T + bias)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_one_hidden_layer_by_hand(activation: str) -> None:
    network = HashingNetwork(5, 3, hidden=(4,), activation=activation)
    first, first_bias, second, second_bias = network.parameters()
    hidden = getattr(torch.nn.functional, activation)(_features() @ first.T + first_bias)
    torch.testing.assert_close(network.logits(_features()), hidden @ second.T + second_bias)


def test_equal_seeds_give_equal_weights_and_leave_the_global_generator_to_others() -> None:
    torch.manual_seed(1)
    first = HashingNetwork(5, 16, seed=7)
    torch.manual_seed(2)
    second = HashingNetwork(5, 16, seed=7)
    other = HashingNetwork(5, 16, seed=8)
    for a, b, c in zip(*(net.parameters() for net in (first, second, other)), strict=True):
        assert a.equal(b)
        assert not a.equal(c)


def test_config_and_state_rebuild_the_network() -> None:
    network = HashingNetwork(5, 16, **EVERYTHING, seed=3)
    network.fit_standardization(_features())
    network(_features())  # moves the running statistics of the batch normalization
    again = HashingNetwork.from_config(network.config)
    again.load_state_dict(network.state_dict())
    assert again.config == network.config
    assert again.eval()(_features()).equal(network.eval()(_features()))


def test_dropout_before_hidden_layers_is_that_of_alexnets_classifier() -> None:
    after = HashingNetwork(5, 16, hidden=(9, 7), dropout=0.5)
    before = HashingNetwork(5, 16, hidden=(9, 7), dropout=0.5, dropout_at="inputs")
    kinds = [
        [type(layer).__name__.removeprefix("Input") for layer in net.layers]
        for net in (after, before)
    ]
    assert kinds == [
        ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"],
        ["Dropout", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Linear"],
    ]
    again = HashingNetwork.from_config(before.config)
    again.load_state_dict(before.state_dict())
    assert again.eval()(_features()).equal(before.eval()(_features()))
    assert "dropout_at" not in after.config  # which fingerprints of earlier models depend on


@pytest.mark.parametrize("kind", ["uniform", "normal", "kaiming"])
def test_first_weights_have_the_spread_of_their_kind(kind: str) -> None:
    network = HashingNetwork(400, 16, hidden=(600,), initial_weights=kind, seed=2)
    expected = {
        "uniform": [(n**-0.5 / 3**0.5, n**-0.5 / 3**0.5) for n in (400, 600)],
        "normal": [(0.01, 0.01)] * 2,
        "kaiming": [((2 / n) ** 0.5, 0.0) for n in (400, 600)],
    }[kind]
    layers = [layer for layer in network.layers if isinstance(layer, torch.nn.Linear)]
    for layer, (weights, biases) in zip(layers, expected, strict=True):
        assert layer.weight.mean().item() == pytest.approx(0, abs=weights / 20)
        assert layer.weight.std().item() == pytest.approx(weights, rel=0.02)
        assert layer.bias.square().mean().sqrt().item() == pytest.approx(biases, rel=0.5)
    largest = layers[0].weight.abs().max().item() / expected[0][0]
    assert largest == pytest.approx(3**0.5, rel=1e-3) if kind == "uniform" else largest > 4


def test_kaiming_weights_keep_the_scale_that_torchs_own_lose() -> None:
    features = torch.randn(200, 300, generator=torch.Generator().manual_seed(0))
    sizes = {
        kind: HashingNetwork(300, 300, hidden=(300,) * 4, initial_weights=kind)
        .logits(features)
        .square()
        .mean()
        .sqrt()
        .item()
        for kind in ("uniform", "kaiming")
    }
    assert 0.7 < sizes["kaiming"] < 3
    assert sizes["uniform"] < sizes["kaiming"] / 20


def test_dropout_acts_in_training_only() -> None:
    network = HashingNetwork(5, 16, dropout=0.5)
    assert not network(_features()).equal(network(_features()))
    network.eval()
    assert network(_features()).equal(network(_features()))


def test_output_batch_norm_balances_the_bits() -> None:
    network = HashingNetwork(5, 16, output_batch_norm=True)
    logits = network.logits(_features() + 100)
    torch.testing.assert_close(logits.mean(dim=0), torch.zeros(16), atol=1e-4, rtol=0)


def test_standardization_uses_present_rows_and_keeps_constant_features_finite() -> None:
    features = _features() * torch.tensor([1.0, 1e3, 1e-3, 1.0, 1.0]) + 5
    features[:, 3] = 0.1
    features[-1] = 0
    present = torch.arange(12) < 11
    network = HashingNetwork(5, 8, standardize=True)
    network.fit_standardization(features, present)
    scaled = (features[present] - network.mean) * network.scale
    torch.testing.assert_close(scaled.mean(dim=0), torch.zeros(5), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        scaled.std(dim=0, correction=0), torch.tensor([1.0, 1, 1, 0, 1]), atol=1e-3, rtol=0
    )
    assert network(features).isfinite().all()


@pytest.mark.parametrize("unit", [1.0, 1e-4, 300.0])
def test_centering_brings_features_of_any_unit_to_one_scale(unit: float) -> None:
    features = unit * (_features() * torch.tensor([1.0, 2, 3, 0, 5]) + 7)
    network = HashingNetwork(5, 8, center=True)
    network.fit_standardization(features)
    centered = (features - features.mean(dim=0)).numpy()
    by_hand = centered / np.sqrt((centered**2).mean())
    np.testing.assert_allclose(network.standardized(features).numpy(), by_hand, atol=1e-4)


def test_centering_equal_items_makes_zeros() -> None:
    network = HashingNetwork(5, 8, center=True)
    features = torch.full((4, 5), 0.1)
    network.fit_standardization(features)
    assert network.standardized(features).abs().max() < 1e-6


def test_standardization_needs_an_item() -> None:
    with pytest.raises(UsageError, match="no training item has this modality"):
        HashingNetwork(5, 8, standardize=True).fit_standardization(torch.zeros(0, 5))


def test_without_the_option_standardization_leaves_no_trace() -> None:
    network = HashingNetwork(5, 8)
    network.fit_standardization(_features())
    assert "mean" not in network.state_dict()


@pytest.mark.parametrize(
    ("arguments", "options", "sentence"),
    [
        ((0, 8), {}, "dim_in is 0"),
        ((5, 0), {}, "bits is 0"),
        ((5, 8), {"hidden": (4, 0)}, "hidden is 0"),
        ((5, 8), {"dropout": 1.0}, "dropout is 1.0; it must be at least 0 and below 1"),
        ((5, 8), {"input_dropout": -0.1}, "input_dropout is -0.1"),
        ((5, 8), {"dropout_at": "middle"}, "dropout_at is 'middle'"),
        ((5, 8), {"initial_weights": "zero"}, "initial_weights is 'zero'"),
        ((5, 8), {"activation": "relo"}, "did you mean 'relu'"),
    ],
)
def test_bad_arguments_are_named(
    arguments: tuple[int, int], options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        HashingNetwork(*arguments, **options)
