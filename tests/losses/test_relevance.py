"""What DCHML-plus learns from, against loops over classes and pairs."""

from __future__ import annotations

import math

import pytest
import torch

from proxyhash.losses import label_posterior, relevance, relevance_likelihood

LABELS = torch.tensor([[1.0, 0.0, 0.3], [0.0, 0.0, 0.0], [0.0, 1.0, 1.0]], dtype=torch.float64)


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_relevance_is_that_of_the_loop() -> None:
    p, q = torch.sigmoid(_random(4, 3)), torch.sigmoid(_random(5, 3, seed=1))
    for i, row in enumerate(relevance(p, q).tolist()):
        for j, value in enumerate(row):
            none = math.prod(1 - float(p[i, c]) * float(q[j, c]) for c in range(3))
            assert value == pytest.approx(1 - none, rel=1e-12)


def test_relevance_of_certain_labels_says_whether_one_is_shared() -> None:
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    assert (relevance(labels, labels) == (labels @ labels.T > 0)).all()


def test_relevance_likelihood_is_that_of_the_loop() -> None:
    outputs, scale, bias = torch.tanh(_random(4, 6)), torch.tensor(7.0), torch.tensor(-0.4)
    probability = torch.sigmoid(_random(4, 4, seed=2))
    terms = []
    for i in range(4):
        for j in range(4):
            if i == j:
                continue
            theta = 7.0 * sum(float(a * b) for a, b in zip(outputs[i], outputs[j], strict=True)) / 6
            chance = 1 / (1 + math.exp(-(theta - 0.4)))
            s = float(probability[i, j])
            terms.append(-s * math.log(chance) - (1 - s) * math.log(1 - chance))
    value = relevance_likelihood(outputs, probability, scale=scale, bias=bias)
    assert value.item() == pytest.approx(sum(terms) / 12, rel=1e-6)


def test_label_posterior_is_that_of_the_loop_over_labeled_items() -> None:
    logits = _random(3, 3)
    terms = []
    for i in (0, 2):
        for c in range(3):
            chance, y = 1 / (1 + math.exp(-float(logits[i, c]))), float(LABELS[i, c])
            terms.append(-y * math.log(chance) - (1 - y) * math.log(1 - chance))
    assert label_posterior(logits, LABELS).item() == pytest.approx(sum(terms) / 2, rel=1e-12)


@pytest.mark.parametrize("items", [0, 1])
def test_too_few_items_cost_nothing_and_give_no_gradient(items: int) -> None:
    outputs = torch.zeros(items, 6, requires_grad=True)
    scale = torch.tensor(8.0, requires_grad=True)
    value = relevance_likelihood(
        outputs, torch.zeros(items, items), scale=scale, bias=torch.tensor(0.0)
    ) + label_posterior(outputs, torch.zeros(items, 6))
    value.backward()
    assert value.item() == 0
    assert outputs.grad is not None
    assert (outputs.grad == 0).all()
