"""The first layer over sparse features: the same map, found faster, in training and after it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from proxyhash.networks import HashingNetwork
from proxyhash.networks.input_linear import InputLinear, is_sparse


def bag(items: int, words: int = 400, present: int = 9) -> torch.Tensor:
    generator = torch.Generator().manual_seed(items)
    features = torch.zeros(items, words)
    for row in features:
        places = torch.randperm(words, generator=generator)[:present]
        row[places] = torch.rand(present, generator=generator) + 0.5
    features[3] = 0  # an item without words, between others
    features[-1] = 0
    return features


def pair(bias: bool = True) -> tuple[nn.Linear, InputLinear]:
    layer = InputLinear(400, 30, bias=bias)
    plain = nn.Linear(400, 30, bias=bias)
    plain.load_state_dict(layer.state_dict())
    layer.lay_out()
    return plain, layer


@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_those_of_a_linear_map(
    bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plain, layer), features = pair(bias), bag(20)
    expected = plain(features)
    expected.square().sum().backward()
    with monkeypatch.context() as patch:  # the product is not what is taken
        patch.setattr(nn.functional, "linear", None)
        outputs = layer(features)
    torch.testing.assert_close(outputs, expected)
    outputs.square().sum().backward()
    for one, other in zip(layer.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_what_is_not_sparse_or_differs_otherwise_takes_the_product() -> None:
    assert is_sparse(bag(20))
    assert not is_sparse(torch.ones(20, 400))
    assert not is_sparse(bag(20).double())
    assert not is_sparse(bag(20).requires_grad_())
    assert not is_sparse(bag(20)[:, :200])
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_sparse(bag(20))
    plain, layer = pair()
    for features in (torch.randn(20, 400), bag(20).double()):
        layer, plain = layer.to(features.dtype), plain.to(features.dtype)
        torch.testing.assert_close(layer(features), plain(features))
    assert layer(bag(20)[:0].double()).shape == (0, 30)


def test_steps_of_an_optimizer_are_the_same() -> None:
    plain, layer = pair()
    optimizers = [torch.optim.Adam(each.parameters(), 0.01, fused=True) for each in (plain, layer)]
    for number in range(5):
        for each, optimizer in zip((plain, layer), optimizers, strict=True):
            optimizer.zero_grad()
            each(bag(20 + number)).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(layer.weight, plain.weight, rtol=1e-4, atol=1e-5)


def test_training_gets_ready_where_features_are_sparse_and_not_shifted() -> None:
    def laid_out(features: torch.Tensor, **options: bool) -> bool:
        network = HashingNetwork(400, 8, hidden=(30, 20), **options)
        before = copy.deepcopy(network.state_dict())
        network.fit_standardization(features)
        after = network.state_dict()
        if not options:
            assert all(torch.equal(before[name], after[name]) for name in before)
        first, *others = [each for each in network.layers if isinstance(each, nn.Linear)]
        assert all(each.weight.is_contiguous() for each in others)
        again = copy.deepcopy(network)
        assert again.layers[0].weight.stride() == first.weight.stride()
        return not first.weight.is_contiguous()

    assert laid_out(bag(20))
    assert not laid_out(torch.randn(20, 400))
    assert not laid_out(bag(20), standardize=True)
    assert not laid_out(bag(20), center=True)
