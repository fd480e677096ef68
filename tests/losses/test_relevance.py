"""What DCHML-plus learns from, against loops over classes and pairs."""

from __future__ import annotations

import math

import pytest
import torch

from proxyhash.losses import (
    label_posterior,
    relative_relevance,
    relevance,
    relevance_likelihood,
)

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


def _loop(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    none = p.new_ones(len(p), len(q))
    for own, other in zip(p.T, q.T, strict=True):
        none = none * (1 - own[:, None] * other[None, :])
    return 1 - none


@pytest.mark.parametrize("certain", [(), (0,), (0, 2)])
@pytest.mark.parametrize("same", [True, False])
def test_the_gradient_of_relevance_is_that_of_the_loop(
    certain: tuple[int, ...], same: bool
) -> None:
    """Also where one factor is 0 or several are, so that the product cannot be divided by it."""
    p, q = torch.sigmoid(_random(6, 4)), torch.sigmoid(_random(5, 4, seed=1))
    for column in certain:
        p[:3, column] = q[1:4, column] = 1
    p[5] = 0
    weights = _random(6, 6 if same else 5, seed=2)
    found = []
    for function in (relevance, _loop):
        own, other = p.clone().requires_grad_(), q.clone().requires_grad_()
        (function(own, own if same else other) * weights).sum().backward()
        assert own.grad is not None
        found.append(own.grad if same else torch.cat([own.grad, other.grad]))
    assert found[0].isfinite().all()
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("classes", [1, 82, 500])
def test_relevance_in_float32_is_the_loop_in_float64(classes: int) -> None:
    p = torch.sigmoid(3 * _random(40, classes) - 4).float()
    q = torch.sigmoid(3 * _random(30, classes, seed=1) - 4).float()
    torch.testing.assert_close(
        relevance(p, q), _loop(p.double(), q.double()).float(), rtol=0, atol=classes * 6e-8
    )


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


def test_relative_relevance_is_1_for_the_best_item_of_each_query() -> None:
    probability = torch.tensor([[0.9, 0.2, 0.05], [0.2, 0.3, 0.4], [0.0, 0.0, 0.7]])
    expected = torch.tensor([[1.0, 1.0, 0.25], [0.5, 0.75, 1.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(relative_relevance(probability), expected)
    for items in (0, 1):
        assert relative_relevance(torch.ones(items, items)).shape == (items, items)


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
