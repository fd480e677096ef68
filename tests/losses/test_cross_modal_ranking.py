"""The ranking of UCCH against a loop over pairs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from proxyhash.losses import cross_modal_ranking


def _halves(rows: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    first = torch.randn(rows, 5, generator=generator, dtype=torch.float64)
    second = 0.4 * first + torch.randn(rows, 5, generator=generator, dtype=torch.float64)
    return first.requires_grad_(), second.requires_grad_()


def _cosine(one: list[float], other: list[float]) -> float:
    inner = sum(a * b for a, b in zip(one, other, strict=True))
    return inner / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))


@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
def test_it_is_that_of_the_loop(margin: float) -> None:
    first, second = _halves()
    terms, near = [], 0
    for i, one in enumerate(first.tolist()):
        scores = [_cosine(one, other) for other in second.tolist()]
        costs = []
        for j, score in enumerate(scores):
            full = j == i or score >= scores[i] - margin
            near += full
            costs.append(math.exp(score if full else score - 0.6))
        terms.append(margin - scores[i] + math.log(sum(costs)))
    assert 7 <= near <= 49
    assert margin == 2.0 or near < 49  # both kinds of pairs are there
    found = cross_modal_ranking(first, second, margin=margin, shift=0.6)
    assert found.item() == pytest.approx(sum(terms) / len(terms), rel=1e-12)


def test_no_items_cost_nothing_and_one_costs_its_margin() -> None:
    first, second = _halves()
    nothing = cross_modal_ranking(first[:0], second[:0], margin=0.2, shift=0.1)
    nothing.backward()
    assert nothing.item() == 0
    assert first.grad is not None
    assert (first.grad == 0).all()
    one = cross_modal_ranking(first[:1], second[:1], margin=0.2, shift=0.1)
    assert one.item() == pytest.approx(0.2)
