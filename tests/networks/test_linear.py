"""Linear maps whose factors are rounded: against products of rounded factors in float64."""

from __future__ import annotations

import pytest
import torch

from proxyhash.networks import HashingNetwork
from proxyhash.networks.input_linear import InputLinear
from proxyhash.networks.linear import Linear, rounding

ROUNDED_ONCE = 2**-8
"""Relative error of a sum that is rounded to bfloat16, and a little for sums in float32."""


def rounded(values: torch.Tensor) -> torch.Tensor:
    """Return the values with 8 significant bits, ties to even, float64."""
    mantissa, exponent = torch.frexp(values.detach().double())
    return torch.ldexp(torch.round(mantissa * 256) / 256, exponent)


def close(found: torch.Tensor | None, expected: torch.Tensor) -> bool:
    assert found is not None
    assert found.dtype == torch.float32
    return bool(
        torch.allclose(
            found.double(), expected, rtol=ROUNDED_ONCE, atol=1e-3 * expected.abs().max().item()
        )
    )


@pytest.mark.parametrize("shape", [(64, 256), (5, 7, 256), (0, 256)])
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_those_of_rounded_factors(
    shape: tuple[int, ...], bias: bool
) -> None:
    torch.manual_seed(0)
    layer = Linear(256, 96, bias=bias)
    features = torch.randn(shape, requires_grad=True)
    gradient = torch.randn(*shape[:-1], 96)
    with rounding(True):
        outputs = layer(features)
    outputs.backward(gradient)
    ones, weights = rounded(features), rounded(layer.weight)
    expected = ones @ weights.T + (layer.bias.detach().double() if bias else 0)
    assert outputs.shape == (*shape[:-1], 96)
    if not features.numel():
        return
    assert close(outputs, expected)
    assert not torch.allclose(outputs.double(), features.double() @ layer.weight.double().T)
    flat = rounded(gradient).flatten(0, -2)
    assert close(features.grad, rounded(gradient) @ weights)
    assert close(layer.weight.grad, flat.T @ ones.flatten(0, -2))
    if bias:
        assert torch.allclose(layer.bias.grad, gradient.flatten(0, -2).sum(dim=0), atol=1e-4)


def test_nothing_is_rounded_outside_and_after_an_error() -> None:
    torch.manual_seed(0)
    layer, features = Linear(256, 96), torch.randn(64, 256)
    plain = torch.nn.functional.linear(features, layer.weight, layer.bias)
    assert torch.equal(layer(features), plain)
    with rounding(True):
        assert not torch.equal(layer(features), plain)
        with rounding(False):
            assert torch.equal(layer(features), plain)
        assert not torch.equal(layer(features), plain)
    assert torch.equal(layer(features), plain)
    with pytest.raises(RuntimeError), rounding(True):
        raise RuntimeError
    assert torch.equal(layer(features), plain)


def test_other_types_and_autocast_are_left_alone() -> None:
    layer, features = Linear(256, 96), torch.randn(64, 256)
    with rounding(True):
        assert layer.double()(features.double()).dtype == torch.float64
        layer.float()
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(features).dtype == torch.bfloat16


def test_weights_by_feature_are_rounded_where_features_are_dense() -> None:
    torch.manual_seed(0)
    layer, features = InputLinear(512, 96), torch.randn(64, 512)
    layer.lay_out()
    with rounding(True):
        found = layer(features)
    assert close(found, rounded(features) @ rounded(layer.weight).T + layer.bias.detach().double())


def test_hidden_layers_of_a_network_are_rounded_and_its_outputs_are_not() -> None:
    network = HashingNetwork(256, 16, hidden=(64,))
    kinds = [type(each) for each in network.layers if isinstance(each, torch.nn.Linear)]
    assert kinds == [InputLinear, torch.nn.Linear]
    features = torch.randn(8, 256)
    with rounding(True):
        hidden = network.layers[:-1](features)
        assert torch.equal(network.layers[-1](hidden), network.logits(features))
        assert not torch.equal(hidden, rounded(hidden).float())
