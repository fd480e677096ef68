"""The losses of the baselines: values, gradients, and the batches that break others."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from proxyhash.losses import (
    bit_cross_entropy,
    bit_uncertainty,
    contrastive,
    cosine_softmax,
    irrelevant_pairs,
    log_cosh_quantization,
    proxy_hinge,
    soft_contrastive,
)
from tests.losses import reference

TAU = 0.1
SIMILARITY = torch.tensor([[True, False, True], [False, False, True], [True] * 3, [False] * 3])
LABELS = torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 1]])


def _outputs(rows: int, *, bits: int = 6, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, bits, generator=generator, dtype=torch.float64) * 1.9 - 0.95


def test_bit_cross_entropy_is_that_of_the_loop() -> None:
    outputs, codes = _outputs(5), _outputs(5, seed=2).sign()
    expected = reference.bit_cross_entropy(outputs.tolist(), codes.tolist())
    assert bit_cross_entropy(outputs, codes).item() == pytest.approx(expected, rel=1e-12)


def test_bit_cross_entropy_by_hand() -> None:
    assert bit_cross_entropy(torch.zeros(2, 3), torch.ones(2, 3)).item() == pytest.approx(
        math.log(2)
    )
    assert bit_cross_entropy(torch.ones(2, 3), torch.ones(2, 3)).item() == 0


def test_a_bit_that_is_wholly_wrong_costs_a_finite_amount() -> None:
    outputs = torch.tensor([[-1.0, 1.0]], requires_grad=True)
    value = bit_cross_entropy(outputs, torch.tensor([[1.0, 1.0]]))
    value.backward()
    assert value.item() == pytest.approx(50)
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()


def test_log_cosh_is_that_of_the_loop() -> None:
    outputs = _outputs(5)
    expected = reference.log_cosh(outputs.tolist())
    assert log_cosh_quantization(outputs).item() == pytest.approx(expected, rel=1e-12)
    assert log_cosh_quantization(outputs.sign()).item() == pytest.approx(0, abs=1e-15)


def test_bit_uncertainty_by_hand() -> None:
    assert bit_uncertainty(torch.zeros(2, 3)).item() == 1
    assert bit_uncertainty(torch.tensor([[1.0, -1.0]])).item() == 0
    # p is 3/4: 1 - (2 * 3/4 - 1)^2
    assert bit_uncertainty(torch.tensor([[0.5]])).item() == pytest.approx(0.75)


def test_cosine_softmax_is_that_of_the_loop() -> None:
    cosines = _outputs(5, bits=3)
    value = cosine_softmax(cosines, LABELS, scale=8.0, margin=0.2)
    expected = reference.cosine_softmax(cosines.tolist(), LABELS.tolist(), scale=8.0, margin=0.2)
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_cosine_softmax_with_one_label_is_torchs_cross_entropy() -> None:
    cosines, classes = _outputs(4, bits=5), torch.tensor([2, 0, 4, 2])
    labels = torch.nn.functional.one_hot(classes, 5)
    expected = torch.nn.functional.cross_entropy(8 * (cosines - 0.2 * labels), classes)
    torch.testing.assert_close(cosine_softmax(cosines, labels, scale=8.0, margin=0.2), expected)


def test_proxy_hinge_is_that_of_the_loop() -> None:
    cosines = _outputs(5, bits=3)
    expected = reference.proxy_hinge(cosines.tolist(), LABELS.tolist(), tau=TAU)
    assert proxy_hinge(cosines, LABELS, tau=TAU).item() == pytest.approx(expected, rel=1e-12)


def test_irrelevant_pairs_are_those_of_the_loop() -> None:
    outputs, others = _outputs(4), _outputs(3, seed=1)
    value = irrelevant_pairs(outputs, others, SIMILARITY, tau=TAU)
    expected = reference.irrelevant_pairs(
        outputs.tolist(), others.tolist(), SIMILARITY.tolist(), tau=TAU
    )
    assert expected > 0
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_contrastive_is_that_of_the_loop() -> None:
    outputs, others = _outputs(4), _outputs(3, seed=1)
    value = contrastive(outputs, others, SIMILARITY, margin=2.2)
    expected = reference.contrastive(
        outputs.tolist(), others.tolist(), SIMILARITY.tolist(), margin=2.2
    )
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_equal_outputs_have_no_gradient_and_no_nan() -> None:
    outputs = torch.full((2, 4), 0.5, requires_grad=True)
    for similarity in (torch.eye(2) > 0, torch.zeros(2, 2) > 0):
        contrastive(outputs, outputs, similarity, margin=2.0).backward()
    assert outputs.grad is not None
    assert outputs.grad.abs().max() == 0


def test_pairs_beyond_the_margin_cost_nothing() -> None:
    codes = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    assert contrastive(codes, codes, torch.eye(2) > 0, margin=2.8).item() == pytest.approx(0)
    assert irrelevant_pairs(codes, codes, torch.eye(2) > 0, tau=0.0).item() == 0


@pytest.mark.parametrize("huge", [1e30, math.inf, math.nan])
def test_an_item_without_labels_is_not_there(huge: float) -> None:
    for loss in (
        lambda cosines, labels: cosine_softmax(cosines, labels, scale=8.0, margin=0.2),
        lambda cosines, labels: proxy_hinge(cosines, labels, tau=TAU),
    ):
        cosines = _outputs(5, bits=3)
        cosines[2] = huge
        rows = [0, 1, 3, 4]
        without = loss(cosines[rows], LABELS[rows])
        cosines.requires_grad_()
        value = loss(cosines, LABELS)
        torch.testing.assert_close(value, without)
        value.backward()
        assert cosines.grad is not None
        assert cosines.grad[2].eq(0).all()


def test_gradients_are_those_of_finite_differences() -> None:
    outputs, others = _outputs(4).requires_grad_(), _outputs(3, seed=1).requires_grad_()
    codes, labels = _outputs(4, seed=2).sign(), LABELS[:4].repeat(1, 2)
    check = torch.autograd.gradcheck
    assert check(lambda h: bit_cross_entropy(h, codes), outputs)
    assert check(log_cosh_quantization, outputs)
    assert check(bit_uncertainty, outputs)
    assert check(lambda h: cosine_softmax(h, labels, scale=8.0, margin=0.2), outputs)
    assert check(lambda h: proxy_hinge(h, labels, tau=TAU), outputs)
    assert check(lambda h, g: irrelevant_pairs(h, g, SIMILARITY, tau=TAU), (outputs, others))
    assert check(lambda h, g: contrastive(h, g, SIMILARITY, margin=2.2), (outputs, others))


def test_nothing_costs_nothing_and_goes_backward() -> None:
    empty = torch.zeros(0, 3, requires_grad=True)
    none, labels = torch.zeros(0, 0, dtype=torch.bool), torch.zeros(0, 3)
    total = (
        bit_cross_entropy(empty, empty.detach())
        + log_cosh_quantization(empty)
        + bit_uncertainty(empty)
        + cosine_softmax(empty, labels, scale=8.0, margin=0.2)
        + proxy_hinge(empty, labels, tau=TAU)
        + irrelevant_pairs(empty, empty, none, tau=TAU)
        + contrastive(empty, empty, none, margin=1.0)
    )
    total.backward()
    assert total.item() == 0


def test_soft_contrastive_is_that_of_the_loop() -> None:
    outputs, others = _outputs(4), _outputs(5, seed=3)
    targets = torch.rand(4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ignored = torch.zeros(4, 5, dtype=torch.bool)
    ignored[1, 2] = ignored[3, 0] = True
    targets[ignored] = 0
    targets = targets / targets.sum(dim=1, keepdim=True)
    pairs = {(1, 2), (3, 0)}
    expected = reference.soft_contrastive(
        outputs.tolist(), others.tolist(), targets.tolist(), pairs, 6.0
    )
    value = soft_contrastive(outputs, others, targets, scale=6.0, ignored=ignored)
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_soft_contrastive_of_one_target_each_is_info_nce() -> None:
    outputs, others = _outputs(5), _outputs(5, seed=3)
    cosines = torch.nn.functional.cosine_similarity(outputs[:, None], others[None], dim=2)
    expected = torch.nn.functional.cross_entropy(6 * cosines, torch.arange(5))
    value = soft_contrastive(outputs, others, torch.eye(5, dtype=torch.float64), scale=6.0)
    torch.testing.assert_close(value, expected)


def test_soft_contrastive_without_supervision_is_zero_with_a_graph() -> None:
    for rows in (0, 3):
        outputs = _outputs(rows).requires_grad_()
        value = soft_contrastive(
            outputs, outputs, torch.zeros(rows, rows), scale=6.0,
            ignored=torch.ones(rows, rows, dtype=torch.bool),
        )  # fmt: skip
        value.backward()
        assert value.item() == 0
        assert outputs.grad is not None
        assert (outputs.grad == 0).all()
