"""Networks that read tokens, against the release of MITH and torch's own attention."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from proxyhash.errors import UsageError
from proxyhash.networks import NETWORKS
from proxyhash.networks.base import network_from
from proxyhash.networks.concepts import TokenNetwork, gather_tokens
from tests.losses import released


def network(tokens: int = 3, **options: object) -> TokenNetwork:
    made = NETWORKS["concept-tokens"].make(
        4 * (1 + tokens), 6, classes=2, seed=1, tokens=tokens, width=8, hidden=[5], **options
    )
    assert isinstance(made, TokenNetwork)
    return made.eval()


@pytest.mark.parametrize("top_k", [1, 2, 5])
def test_tokens_are_gathered_as_in_the_release(top_k: int) -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(4, 7, 3, generator=generator, dtype=torch.float64)
    scores = torch.randn(4, 7, 5, generator=generator, dtype=torch.float64)
    scores[0, :, 2] = -1  # a concept that no token of the item has
    padding = torch.zeros(4, 7, dtype=torch.bool)
    padding[1, 4:] = True
    padding[2] = True  # an item without tokens
    found = gather_tokens(tokens, scores, padding, nearest=top_k)
    expected = released.mith_gathered(tokens, scores, padding.tolist(), top_k=top_k)
    torch.testing.assert_close(found, expected)
    assert (found[0, 2] == 0).all()
    assert (found[2] == 0).all()
    assert (found[3] != 0).any()


def test_the_transformer_is_that_of_clip() -> None:
    """Its residual block: torch's own attention and a GELU of x * sigmoid(1.702 x)."""
    net = NETWORKS["concept-tokens"].make(
        256, 6, classes=2, seed=1, tokens=1, width=128, hidden=[5], transformer_layers=1
    )
    assert isinstance(net, TokenNetwork)
    (block,) = net.transformer
    attention = nn.MultiheadAttention(128, 2, batch_first=True)
    attention.load_state_dict(
        {
            "in_proj_weight": block.project.weight,
            "in_proj_bias": block.project.bias,
            "out_proj.weight": block.join.weight,
            "out_proj.bias": block.join.bias,
        }
    )
    values = torch.randn(3, 6, 128)
    normed = nn.functional.layer_norm(values, (128,))
    expected = values + attention(normed, normed, normed)[0]
    hidden = block.widen(nn.functional.layer_norm(expected, (128,)))
    expected = expected + block.narrow(hidden * torch.sigmoid(1.702 * hidden))
    torch.testing.assert_close(block(values), expected, rtol=1e-4, atol=1e-5)


def test_bits_are_the_signs_of_the_sum_of_both_outputs() -> None:
    net, features = network(), torch.randn(20, 16)
    parts = net.parts(features)
    outputs = torch.tanh(parts.item_logits) + torch.tanh(parts.token_logits)
    torch.testing.assert_close(parts.outputs, outputs / 2)
    assert torch.equal(net.logits(features) > 0, outputs > 0)


def test_padding_changes_nothing() -> None:
    net, features = network(), torch.randn(5, 16)
    features[:, 12:] = 0
    short = network(tokens=2)
    short.load_state_dict(net.state_dict())
    torch.testing.assert_close(net.logits(features), short.logits(features[:, :12]))


def test_positions_are_sines_and_cosines() -> None:
    found = network().positions
    for place in range(6):
        for pair in range(4):
            angle = place / 10000 ** (2 * pair / 8)
            assert found[place, 2 * pair] == pytest.approx(math.sin(angle) / 8**0.5, abs=1e-6)
            assert found[place, 2 * pair + 1] == pytest.approx(math.cos(angle) / 8**0.5, abs=1e-6)


@pytest.mark.parametrize("standardize", [False, True])
def test_a_network_is_the_same_when_it_is_loaded(standardize: bool) -> None:
    features = torch.randn(30, 16) * 3 + 1
    net = network(standardize=standardize, output_batch_norm=True)
    net.fit_standardization(features)
    net.train()
    net(features)
    net.eval()
    again = network_from(net.description)
    again.load_state_dict(net.state_dict())
    assert torch.equal(again.eval()(features), net(features))
    assert network_from(net.description).dim_in == 16


def test_features_that_are_no_tokens_are_refused() -> None:
    with pytest.raises(UsageError, match="width 16 are not 1 \\+ 2 vectors"):
        NETWORKS["concept-tokens"].make(16, 6, classes=2, seed=1, tokens=2)
