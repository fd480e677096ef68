"""The losses on outputs and codes rather than on logits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from proxyhash.losses import bit_balance, pairwise_likelihood, proxy_separation, quantization
from tests.losses import reference


def _outputs(rows: int, *, bits: int = 6, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, bits, generator=generator, dtype=torch.float64) * 1.9 - 0.95


def _similarity() -> Tensor:
    return torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 0, 0]])


def test_pairwise_likelihood_is_that_of_the_loop() -> None:
    image, text = _outputs(4), _outputs(3, seed=1)
    value = pairwise_likelihood(image, text, _similarity())
    expected = reference.pairwise(image.tolist(), text.tolist(), _similarity().tolist())
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_pairwise_likelihood_takes_boolean_similarity() -> None:
    image, text = _outputs(4), _outputs(3, seed=1)
    torch.testing.assert_close(
        pairwise_likelihood(image, text, _similarity().bool()),
        pairwise_likelihood(image, text, _similarity().double()),
    )


def test_pairwise_likelihood_ignores_the_order_of_the_batch() -> None:
    image, text = _outputs(4), _outputs(3, seed=1)
    rows, columns = torch.tensor([2, 0, 3, 1]), torch.tensor([1, 2, 0])
    torch.testing.assert_close(
        pairwise_likelihood(image[rows], text[columns], _similarity()[rows][:, columns]),
        pairwise_likelihood(image, text, _similarity()),
    )


def test_pairwise_likelihood_does_not_overflow() -> None:
    image = torch.full((2, 4096), 1.0, requires_grad=True)
    text = torch.stack([torch.ones(4096), -torch.ones(4096)])
    value = pairwise_likelihood(image, text, torch.eye(2))
    value.backward()
    # Two of the four pairs are wrong: theta is 2048 where S is 0, -2048 where S is 1.
    assert value.item() == pytest.approx(2 * 2048 / 4)
    assert image.grad is not None
    assert image.grad.isfinite().all()


def test_quantization_is_that_of_the_loop() -> None:
    outputs = _outputs(5)
    codes = _outputs(5, seed=2).sign()
    expected = reference.quantize(outputs.tolist(), codes.tolist())
    assert quantization(outputs, codes).item() == pytest.approx(expected, rel=1e-12)
    assert quantization(codes, codes).item() == 0


def test_bit_balance_is_that_of_the_loop() -> None:
    outputs = _outputs(5)
    expected = reference.balance(outputs.tolist())
    assert bit_balance(outputs).item() == pytest.approx(expected, rel=1e-12)
    assert bit_balance(torch.tensor([[1.0, -1.0], [-1.0, 1.0]])).item() == 0
    assert bit_balance(torch.ones(3, 4)).item() == pytest.approx(3 * 4)


def test_proxy_separation_is_that_of_the_loop() -> None:
    outputs = _outputs(5)
    expected = reference.separation(outputs.tolist())
    assert proxy_separation(outputs).item() == pytest.approx(expected, rel=1e-12)


def test_proxy_separation_of_orthogonal_and_opposite_proxies_is_zero() -> None:
    proxies = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    assert proxy_separation(proxies).item() == 0
    assert proxy_separation(torch.ones(2, 3)).item() == pytest.approx(2 * 9 / 4)


def test_gradients_are_those_of_finite_differences() -> None:
    image = _outputs(4).requires_grad_()
    text = _outputs(3, seed=1).requires_grad_()
    codes = _outputs(4, seed=2).sign()
    assert torch.autograd.gradcheck(
        lambda a, b: pairwise_likelihood(a, b, _similarity()), (image, text)
    )
    assert torch.autograd.gradcheck(lambda a: quantization(a, codes), image)
    assert torch.autograd.gradcheck(bit_balance, image)
    assert torch.autograd.gradcheck(proxy_separation, image)


def test_nothing_costs_nothing_and_goes_backward() -> None:
    empty = torch.zeros(0, 6, requires_grad=True)
    total = (
        pairwise_likelihood(empty, _outputs(3).float(), torch.zeros(0, 3))
        + quantization(empty, empty.detach())
        + bit_balance(empty)
        + proxy_separation(empty)
    )
    total.backward()
    assert total.item() == 0


def test_shapes_are_checked() -> None:
    with pytest.raises(Exception, match="Type-check error"):
        quantization(_outputs(5), _outputs(4))
