"""Dropout: how many units go, by how much the others grow, and that both are drawn alike."""

from __future__ import annotations

import math

import pytest
import torch

from proxyhash.networks.dropout import Dropout

UNITS = 400_000


def dropped(share: float, *, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    torch.manual_seed(0)
    return Dropout(share)(torch.ones(1000, UNITS // 1000, dtype=dtype))


@pytest.mark.parametrize("share", [0.5, 0.25, 0.1, 0.3, 0.999, 0.001])
def test_the_share_is_dropped_and_the_rest_is_scaled(share: float) -> None:
    out = dropped(share)
    kept = int((out != 0).sum())
    deviation = math.sqrt(UNITS * share * (1 - share))
    assert abs(kept - UNITS * (1 - share)) < 5 * deviation + UNITS / 65_536
    scale = out.max().item()
    assert set(out.unique().tolist()) == {0, scale}
    assert scale == pytest.approx(1 / (1 - share), rel=1e-2 if share > 0.9 else 1e-4)


def test_neighbors_go_independently() -> None:
    kept = (dropped(0.5) != 0).float().flatten() - 0.5
    for apart in (1, 2, 3, 4, 7, 8, 16, 400):
        together = (kept[:-apart] * kept[apart:]).mean().item() * 4
        assert abs(together) < 5 / math.sqrt(UNITS)


def test_the_gradient_is_that_of_what_stayed() -> None:
    values = torch.randn(7, 13, requires_grad=True)
    out = Dropout(0.5)(values)
    out.sum().backward()
    assert torch.equal(out, values.detach() * values.grad)
    assert set(values.grad.unique().tolist()) <= {0, 2}


def test_a_seed_repeats_it_and_the_next_call_does_not() -> None:
    assert torch.equal(dropped(0.5), dropped(0.5))
    again = Dropout(0.5)(torch.ones(1000, UNITS // 1000))
    assert not torch.equal(again, dropped(0.5))


@pytest.mark.parametrize("share", [0.0, 1.0, 1e-9, 1 - 1e-9])
def test_the_ends_are_those_of_torch(share: float) -> None:
    values = torch.randn(50, 40)
    torch.manual_seed(0)
    out = Dropout(share)(values)
    torch.manual_seed(0)
    assert torch.equal(out, torch.nn.Dropout(share)(values))


def test_nothing_is_dropped_after_training() -> None:
    values = torch.randn(5, 4)
    assert Dropout(0.5).eval()(values) is values


def test_types_stay_and_nothing_is_too_small() -> None:
    assert dropped(0.5, dtype=torch.bfloat16).dtype == torch.bfloat16
    assert Dropout(0.5)(torch.ones(0, 3)).shape == (0, 3)
    assert Dropout(0.5)(torch.ones(())).shape == ()
