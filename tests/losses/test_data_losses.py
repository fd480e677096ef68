"""The losses of DAPH against loops over items and proxies."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from proxyhash.losses import cosine_quantization, data_softmax

GAMMA, SIGMA = 7.0, 0.2


def _batch() -> tuple[Tensor, Tensor, Tensor]:
    """Items 0 and 5: no label, and one that no proxy has alone; proxy 3 has none."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.tensor(
        [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1]]
    )
    proxies = torch.tensor(
        [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    )
    logits = torch.rand(6, 6, generator=generator, dtype=torch.float64) * 2 - 1
    return logits, labels.double(), proxies.double()


def _loop(logits: list[list[float]], labels: list[list[float]], proxies: list[list[float]]):
    same, partial = [], []
    for own, row in zip(logits, labels, strict=True):
        shared = [sum(a * b for a, b in zip(row, other, strict=True)) for other in proxies]
        if not any(row):
            continue
        foreign = [j for j, s in enumerate(shared) if s == 0 and any(proxies[j])]
        equal = [j for j, other in enumerate(proxies) if other == row]
        some = [j for j, s in enumerate(shared) if s and j not in equal]

        def term(a: float, own=own, foreign=foreign) -> float:
            if not foreign:
                return 0.0
            others = sum(math.exp(GAMMA * own[j]) for j in foreign)
            return -math.log(math.exp(a) / (math.exp(a) + others))

        if equal:
            same.append(sum(term(GAMMA * (own[j] - SIGMA)) for j in equal) / len(equal))
        if some:
            mean = sum(shared[j] * own[j] for j in some) / sum(shared)
            partial.append(term(GAMMA * (mean - SIGMA)))
    return [sum(terms) / len(terms) if terms else 0.0 for terms in (same, partial)]


def test_data_softmax_is_that_of_the_loop() -> None:
    logits, labels, proxies = _batch()
    found = data_softmax(logits, labels, proxies, gamma=GAMMA, sigma=SIGMA)
    expected = _loop(logits.tolist(), labels.tolist(), proxies.tolist())
    assert [value.item() for value in found] == pytest.approx(expected, rel=1e-12)
    assert min(expected) > 0


def test_data_softmax_has_the_gradient_of_finite_differences() -> None:
    logits, labels, proxies = _batch()
    assert torch.autograd.gradcheck(
        lambda x: data_softmax(x, labels, proxies, gamma=GAMMA, sigma=SIGMA),
        logits.requires_grad_(),
    )


def test_data_softmax_does_not_depend_on_the_order_of_proxies() -> None:
    logits, labels, proxies = _batch()
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    ahead = data_softmax(logits, labels, proxies, gamma=GAMMA, sigma=SIGMA)
    moved = data_softmax(logits[:, order], labels, proxies[order], gamma=GAMMA, sigma=SIGMA)
    torch.testing.assert_close(ahead, moved)


@pytest.mark.parametrize("kind", ["no labels", "no proxies", "no foreign", "no items"])
def test_where_nothing_competes_the_terms_are_zero_and_go_backward(kind: str) -> None:
    logits, labels, proxies = _batch()
    if kind == "no labels":
        labels = torch.zeros_like(labels)
    elif kind == "no proxies":
        proxies = torch.zeros_like(proxies)
    elif kind == "no foreign":
        labels, proxies = torch.ones_like(labels), torch.ones_like(proxies)
    else:
        logits, labels = logits[:0], labels[:0]
    logits = (1e6 * logits).requires_grad_()
    same, partial = data_softmax(logits, labels, proxies, gamma=GAMMA, sigma=SIGMA)
    assert (same.item(), partial.item()) == (0, 0)
    (same + partial).backward()
    assert logits.grad is not None
    assert logits.grad.eq(0).all()


def test_cosine_quantization_is_that_of_the_loop() -> None:
    outputs = torch.tensor([[0.5, -0.5], [3.0, 4.0], [-1.0, 0.0]], dtype=torch.float64)
    cosines = [1, 7 / (5 * math.sqrt(2)), 1 / math.sqrt(2)]
    expected = sum((cosine - 1) ** 2 for cosine in cosines) / 3
    assert cosine_quantization(outputs).item() == pytest.approx(expected, rel=1e-12)
    assert cosine_quantization(7 * outputs).item() == pytest.approx(expected, rel=1e-12)
    assert cosine_quantization(outputs[:0]).item() == 0
    points = outputs[:2].clone().requires_grad_()
    assert torch.autograd.gradcheck(cosine_quantization, points)
