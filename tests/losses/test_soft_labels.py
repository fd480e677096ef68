"""Labels that are probabilities: the formulas as loops, and 0 and 1 exactly as ever."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from proxyhash.losses import (
    certain,
    cosine_softmax,
    cross_modal_softmax,
    margin_dynamic_softmax,
    partial_softmax,
    proxy_hinge,
    share_a_label,
)

if TYPE_CHECKING:
    from collections.abc import Callable

GAMMA, SIGMA, SCALE, MARGIN, TAU = 0.3, 4.8, 3.0, 0.2, 0.1
ROWS = [
    [0.9, 0.6, 0.3, 0.1, 0.0],  # two positives, one undecided
    [0.5, 0.25, 0.24, 0.0, 0.0],  # both borders
    [0.4, 0.3, 0.2, 0.1, 0.0],  # nothing is likely
    [1.0, 0.0, 0.0, 1.0, 0.0],  # certain
    [0.7, 0.8, 0.3, 0.9, 0.4],  # nothing competes
]


def _logits(seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(len(ROWS), 5, generator=generator, dtype=torch.float64) * 2 - 1) * 8


def _parts(row: list[float]) -> tuple[list[int], list[int]]:
    return [c for c, y in enumerate(row) if y >= 0.5], [c for c, y in enumerate(row) if y < 0.25]


def _margin(logits: Tensor, competitors: Tensor) -> float:
    terms = []
    for own, other, row in zip(logits.tolist(), competitors.tolist(), ROWS, strict=True):
        positive, negative = _parts(row)
        if positive:
            mean = sum(row[c] * own[c] for c in positive) / sum(row[c] for c in positive)
            a = GAMMA * (mean - SIGMA)
            total = math.exp(a) + sum(math.exp(GAMMA * other[c]) for c in negative)
            terms.append(math.log(total) - a)
    return sum(terms) / len(terms)


def test_margin_and_cross_terms_are_those_of_the_loop() -> None:
    logits, others, labels = _logits(), _logits(2), torch.tensor(ROWS, dtype=torch.float64)
    found = margin_dynamic_softmax(logits, labels, gamma=GAMMA, sigma=SIGMA)
    assert found.item() == pytest.approx(_margin(logits, logits), rel=1e-12)
    cross = cross_modal_softmax(logits, others, labels, gamma=GAMMA, sigma=SIGMA)
    assert cross.item() == pytest.approx(_margin(logits, others), rel=1e-12)


def test_partial_term_is_that_of_the_loop() -> None:
    logits = _logits()
    terms = []
    for own, row in zip(logits.tolist(), ROWS, strict=True):
        positive, negative = _parts(row)
        if not positive:
            continue
        total = 0.0
        for c in positive if negative else ():
            against = math.log(sum(math.exp(GAMMA * own[j]) for j in negative))
            total += row[c] * math.log1p(math.exp(against - GAMMA * (own[c] - SIGMA)))
        terms.append(total / sum(row[c] for c in positive))
    labels = torch.tensor(ROWS, dtype=torch.float64)
    found = partial_softmax(logits, labels, gamma=GAMMA, sigma=SIGMA)
    assert found.item() == pytest.approx(sum(terms) / len(terms), rel=1e-12)


def test_terms_of_cosines_are_those_of_loops() -> None:
    cosines, labels = _logits() / 8, torch.tensor(ROWS, dtype=torch.float64)
    shares, near, far = [], [], []
    for own, row in zip(cosines.tolist(), ROWS, strict=True):
        positive, negative = _parts(row)
        if not positive:
            continue
        logits = {c: SCALE * (own[c] - MARGIN * (c in positive)) for c in (*positive, *negative)}
        total = math.log(sum(map(math.exp, logits.values())))
        weights = sum(row[c] for c in positive)
        shares.append(sum(row[c] * (total - logits[c]) for c in positive) / weights)
        near += [(row[c], row[c] * (1 - own[c])) for c in positive]
        far += [max(0.0, own[c] - TAU) for c in negative]
    found = cosine_softmax(cosines, labels, scale=SCALE, margin=MARGIN)
    assert found.item() == pytest.approx(sum(shares) / len(shares), rel=1e-12)
    pulled = sum(cost for _, cost in near) / sum(weight for weight, _ in near)
    hinge = proxy_hinge(cosines, labels, tau=TAU)
    assert hinge.item() == pytest.approx(pulled + sum(far) / len(far), rel=1e-12)


def _cross(logits: Tensor, labels: Tensor) -> Tensor:
    return cross_modal_softmax(logits, -0.5 * logits, labels, gamma=GAMMA, sigma=SIGMA)


def _of_before(name: str, logits: Tensor, labels: Tensor) -> Tensor:
    """The same losses as they were when labels could only be 0 and 1."""
    positive = labels > 0
    labeled, count = positive.any(dim=1), positive.sum(dim=1).clamp(min=1)
    if name == "partial":
        contested = labeled & ~positive.all(dim=1)
        scaled = GAMMA * torch.where(contested[:, None], logits, 0.0)
        rivals = scaled.masked_fill(positive & contested[:, None], -torch.inf)
        against = torch.logsumexp(rivals, dim=1, keepdim=True) - (scaled - GAMMA * SIGMA)
        kept = positive & contested[:, None]
        terms = torch.where(kept, torch.nn.functional.softplus(against), 0.0).sum(dim=1) / count
    else:
        logits = torch.where(labeled[:, None], logits, 0.0)
        a = GAMMA * (torch.where(positive, logits, 0.0).sum(dim=1) / count - SIGMA)
        rivals = GAMMA * (logits if name == "margin" else -0.5 * logits)
        rivals = (rivals - a[:, None]).masked_fill(positive, -torch.inf)
        terms = torch.logsumexp(torch.cat([torch.zeros_like(rivals[:, :1]), rivals], 1), dim=1)
    return torch.where(labeled, terms, 0.0).sum() / labeled.sum().clamp(min=1)


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("margin", lambda o, y: margin_dynamic_softmax(o, y, gamma=GAMMA, sigma=SIGMA)),
        ("cross", _cross),
        ("partial", lambda o, y: partial_softmax(o, y, gamma=GAMMA, sigma=SIGMA)),
    ],
)
def test_labels_of_0_and_1_give_identical_bits(
    name: str, loss: Callable[[Tensor, Tensor], Tensor]
) -> None:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(64, 11, generator=generator) * 9
    labels = (torch.rand(64, 11, generator=generator) < 0.2).float()
    values, gradients = [], []
    for each in (loss, lambda o, y: _of_before(name, o, y)):
        leaf = logits.clone().requires_grad_()
        value = each(leaf, labels)
        value.backward()
        values.append(value.detach())
        gradients.append(leaf.grad)
    assert torch.equal(*values)
    assert torch.equal(*gradients)


def test_probabilities_that_are_nearly_certain_are_nearly_certain_labels() -> None:
    logits, hard = _logits(), torch.tensor([[1.0, 0, 0, 1, 0]] * len(ROWS), dtype=torch.float64)
    for loss in (margin_dynamic_softmax, partial_softmax):
        one = loss(logits, hard, gamma=GAMMA, sigma=SIGMA)
        near = loss(logits, hard * 0.999, gamma=GAMMA, sigma=SIGMA)
        assert near.item() == pytest.approx(one.item(), rel=1e-9)


def test_pairs_share_a_label_where_it_is_likely() -> None:
    labels = torch.tensor([[0.8, 0.0], [0.5, 0.4], [0.7, 0.7]])
    expected = [
        [1 - math.prod(1 - p * q for p, q in zip(one, other, strict=True)) >= 0.5
         for other in labels.tolist()]
        for one in labels.tolist()
    ]  # fmt: skip
    assert share_a_label(labels, labels).tolist() == expected
    hard = certain(labels).float()
    assert share_a_label(hard, hard).tolist() == [[True] * 3] * 3
    assert certain(torch.tensor([[0.5, 0.4999]])).tolist() == [[True, False]]
