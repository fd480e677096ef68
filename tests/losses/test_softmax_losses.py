"""The three losses that compete logits: values, gradients, and the batches that break others."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from proxyhash.losses import cross_modal_softmax, margin_dynamic_softmax, partial_softmax
from proxyhash.losses.margin_dynamic_softmax import reference_sigma
from tests.losses import reference

Loss = Callable[..., Tensor]
GAMMA, SIGMA = 0.3, 4.8


def _cross(logits: Tensor, labels: Tensor, *, gamma: float, sigma: float) -> Tensor:
    """The cross-modal term as a function of one set of logits, as the other losses are."""
    return cross_modal_softmax(logits, -0.5 * logits, labels, gamma=gamma, sigma=sigma)


def _cross_loop(logits: list[list[float]], labels: list[list[float]], **options: float) -> float:
    other = [[-0.5 * value for value in row] for row in logits]
    return reference.softmax_over(logits, other, labels, **options)


def _own_loop(logits: list[list[float]], labels: list[list[float]], **options: float) -> float:
    return reference.softmax_over(logits, logits, labels, **options)


LOSSES = [
    pytest.param(margin_dynamic_softmax, _own_loop, id="margin_dynamic"),
    pytest.param(_cross, _cross_loop, id="cross_modal"),
    pytest.param(partial_softmax, reference.partial, id="partial"),
]
each_loss = pytest.mark.parametrize(("loss", "loop"), LOSSES)


def _batch(*, items: int = 7, categories: int = 5, bits: int = 16) -> tuple[Tensor, Tensor]:
    """Logits of random codes; item 0 has no label, item 1 has every label."""
    generator = torch.Generator().manual_seed(3)
    codes = torch.rand(items, bits, generator=generator, dtype=torch.float64) * 2 - 1
    proxies = torch.randint(0, 2, (categories, bits), generator=generator) * 2.0 - 1
    labels = torch.rand(items, categories, generator=generator) < 0.4
    labels[:, 0] |= ~labels.any(dim=1)
    labels[0], labels[1] = False, True
    return codes @ proxies.T.double(), labels


@each_loss
@pytest.mark.parametrize("as_labels", [torch.bool, torch.float32, torch.int64])
def test_value_is_that_of_the_loop(loss: Loss, loop: Loss, as_labels: torch.dtype) -> None:
    logits, labels = _batch()
    value = loss(logits, labels.to(as_labels), gamma=GAMMA, sigma=SIGMA)
    expected = loop(logits.tolist(), labels.tolist(), gamma=GAMMA, sigma=SIGMA)
    assert value.item() == pytest.approx(expected, rel=1e-12)
    assert value.item() > 0


@each_loss
def test_gradient_is_that_of_finite_differences(loss: Loss, loop: Loss) -> None:
    logits, labels = _batch(items=5, categories=4)
    logits.requires_grad_()

    def value(logits: Tensor) -> Tensor:
        return loss(logits, labels, gamma=GAMMA, sigma=SIGMA)

    assert torch.autograd.gradcheck(value, logits)
    (gradient,) = torch.autograd.grad(value(logits), logits)
    rows, step = logits.tolist(), 1e-6
    for i, j in [(0, 0), (1, 1), (2, 0), (3, 3), (4, 2)]:
        ends = []
        for sign in (1, -1):
            moved = [list(row) for row in rows]
            moved[i][j] += sign * step
            ends.append(loop(moved, labels.tolist(), gamma=GAMMA, sigma=SIGMA))
        assert gradient[i, j].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-8)


@each_loss
def test_order_of_items_and_classes_is_indifferent(loss: Loss, loop: Loss) -> None:
    logits, labels = _batch()
    value = loss(logits, labels, gamma=GAMMA, sigma=SIGMA)
    rows, columns = torch.randperm(7), torch.randperm(5)
    moved = loss(logits[rows][:, columns], labels[rows][:, columns], gamma=GAMMA, sigma=SIGMA)
    torch.testing.assert_close(moved, value)


@each_loss
@pytest.mark.parametrize("huge", [1e30, math.inf, math.nan])
def test_an_item_without_labels_is_not_there(loss: Loss, loop: Loss, huge: float) -> None:
    logits, labels = _batch()
    without = loss(logits[1:], labels[1:], gamma=GAMMA, sigma=SIGMA)
    logits[0] = huge
    logits.requires_grad_()
    value = loss(logits, labels, gamma=GAMMA, sigma=SIGMA)
    torch.testing.assert_close(value, without)
    value.backward()
    assert logits.grad is not None
    assert logits.grad[0].eq(0).all()
    assert logits.grad.isfinite().all()


@each_loss
@pytest.mark.parametrize("items", [0, 3])
def test_a_batch_without_labels_costs_nothing_and_goes_backward(
    loss: Loss, loop: Loss, items: int
) -> None:
    logits = torch.full((items, 4), 1e30, requires_grad=True)
    value = loss(logits, torch.zeros(items, 4), gamma=GAMMA, sigma=SIGMA)
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert logits.grad.eq(0).all()


@each_loss
@pytest.mark.parametrize("size", [-1e4, 0.0, 1e4, 1e30])
def test_an_item_with_every_label_has_no_competitor(loss: Loss, loop: Loss, size: float) -> None:
    logits = torch.full((2, 4), size, requires_grad=True)
    value = loss(logits, torch.ones(2, 4), gamma=GAMMA, sigma=SIGMA)
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert logits.grad.eq(0).all()


@each_loss
@pytest.mark.parametrize("size", [1e3, 1e6])
def test_large_logits_do_not_overflow(loss: Loss, loop: Loss, size: float) -> None:
    logits = torch.tensor([[size, -size, 0.0], [-size, size, 0.0]], requires_grad=True)
    value = loss(logits, torch.tensor([[1, 0, 0], [1, 0, 0]]), gamma=GAMMA, sigma=SIGMA)
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_margin_dynamic_by_hand() -> None:
    # One label, one competitor, gamma 1, no margin: softplus of the difference of the logits.
    value = margin_dynamic_softmax(
        torch.tensor([[2.0, 1.0]]), torch.tensor([[1, 0]]), gamma=1.0, sigma=0.0
    )
    assert value.item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_partial_and_margin_dynamic_agree_on_a_single_label() -> None:
    logits, _ = _batch()
    labels = torch.eye(7, 5, dtype=torch.bool)
    torch.testing.assert_close(
        partial_softmax(logits, labels, sigma=SIGMA),
        margin_dynamic_softmax(logits, labels, sigma=SIGMA),
    )


def test_cross_modal_with_its_own_logits_is_margin_dynamic() -> None:
    logits, labels = _batch()
    torch.testing.assert_close(
        cross_modal_softmax(logits, logits, labels, sigma=SIGMA),
        margin_dynamic_softmax(logits, labels, sigma=SIGMA),
    )


def _other_logits(logits: Tensor) -> Tensor:
    return logits.flip(0) * 0.7 + 1


def test_cross_modal_of_the_port_is_that_of_the_loop() -> None:
    logits, labels = _batch()
    others = _other_logits(logits)
    value = cross_modal_softmax(
        logits, others, labels, gamma=GAMMA, sigma=SIGMA, denominator="other"
    )
    expected = reference.cross_modal_of_the_port(
        logits.tolist(), others.tolist(), labels.tolist(), gamma=GAMMA, sigma=SIGMA
    )
    assert value.item() == pytest.approx(expected, rel=1e-12)
    assert value.item() != pytest.approx(
        cross_modal_softmax(logits, others, labels, gamma=GAMMA, sigma=SIGMA).item()
    )


@pytest.mark.parametrize("size", [1.0, 1e6])
def test_the_ports_gradient_is_a_constant_pull_to_the_mean_positive_proxy(size: float) -> None:
    logits, labels = _batch()
    logits = (size * logits).requires_grad_()
    value = cross_modal_softmax(
        logits, _other_logits(logits.detach()), labels, gamma=GAMMA, sigma=SIGMA,
        denominator="other",
    )  # fmt: skip
    (gradient,) = torch.autograd.grad(value, logits)
    # 6 of the 7 items have labels; those without get no pull.
    expected = -GAMMA * labels / labels.sum(dim=1, keepdim=True).clamp(min=1) / 6
    torch.testing.assert_close(gradient, expected.double())


def test_the_ports_gradient_is_that_of_finite_differences_of_the_loop() -> None:
    logits, labels = _batch(items=5, categories=4)
    others = _other_logits(logits)
    logits.requires_grad_()
    options = {"gamma": GAMMA, "sigma": SIGMA}
    value = cross_modal_softmax(logits, others, labels, **options, denominator="other")
    (gradient,) = torch.autograd.grad(value, logits)
    rows, step = logits.tolist(), 1e-6
    for i, j in [(0, 0), (1, 1), (2, 0), (3, 3), (4, 2)]:
        ends = []
        for sign in (1, -1):
            moved = [list(row) for row in rows]
            moved[i][j] += sign * step
            ends.append(
                reference.cross_modal_of_the_port(
                    moved, others.tolist(), labels.tolist(), **options
                )
            )
        assert gradient[i, j].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-8)


@pytest.mark.parametrize("items", [0, 3])
def test_cross_modal_of_the_port_without_labels_costs_nothing(items: int) -> None:
    logits = torch.full((items, 4), 1e30, requires_grad=True)
    value = cross_modal_softmax(
        logits, logits.detach(), torch.zeros(items, 4), sigma=SIGMA, denominator="other"
    )
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert logits.grad.eq(0).all()


def test_reference_margin_grows_with_the_code() -> None:
    assert reference_sigma(64) == pytest.approx(19.2)
