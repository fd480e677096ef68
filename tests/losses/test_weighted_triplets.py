"""The triplets of IDGH against an array of all of them."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from torch import Tensor

from proxyhash.losses import weighted_triplets

LABELS = torch.tensor(
    [[1, 0, 1, 0], [0, 1, 0, 0], [0, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 1]]
).bool()
OTHERS = torch.tensor([[0, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1], [0, 1, 1, 0], [1, 0, 0, 1]]).bool()


def _outputs(rows: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 7, generator=generator, dtype=torch.float64).requires_grad_()


def _all_triplets(
    outputs: Tensor, others: Tensor, labels: Tensor, other_labels: Tensor, margin: float
) -> Tensor:
    shared = labels.double() @ other_labels.double().T
    gains = 2**shared - 1
    ideal = [
        sum(gain / math.log2(rank + 2) for rank, gain in enumerate(sorted(row, reverse=True)))
        for row in gains.tolist()
    ]
    weights = gains / torch.tensor([each or 1.0 for each in ideal], dtype=gains.dtype)[:, None]
    one = outputs / outputs.norm(dim=1, keepdim=True)
    other = others / others.norm(dim=1, keepdim=True)
    distances = 1 - (one[:, None] * other[None]).sum(dim=2)
    apart = distances[:, :, None] - distances[:, None, :] + margin
    apart = apart * (shared > 0)[:, :, None] * (shared == 0)[:, None, :]
    above = apart > 1e-12
    return (0.1 * weights[:, :, None] * apart * above).sum() / above.sum().clamp(min=1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("rows", [2, 128])
@pytest.mark.parametrize(("times", "other_times"), [(1, 1), (3, 2), (1, 4)])
def test_it_is_that_of_all_triplets(
    times: int, other_times: int, rows: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[weighted_triplets.__module__], "_ROWS", rows)
    leaves = _outputs(times * 6, 1), _outputs(other_times * 5, 2)
    expected = _all_triplets(
        *leaves, LABELS.repeat(times, 1), OTHERS.repeat(other_times, 1), margin=0.2
    )
    found = weighted_triplets(leaves[0].to(dtype), leaves[1].to(dtype), LABELS, OTHERS, margin=0.2)
    rtol = 1e-10 if dtype == torch.float64 else 1e-5
    assert found.dtype == dtype
    assert found.item() == pytest.approx(expected.item(), rel=rtol)
    theirs = torch.autograd.grad(expected, leaves)
    for one, other in zip(torch.autograd.grad(2 * found, leaves), theirs, strict=True):
        torch.testing.assert_close(one, 2 * other, rtol=100 * rtol, atol=rtol)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_items_as_near_as_others_cost_nothing_without_a_margin(dtype: torch.dtype) -> None:
    query = torch.tensor([[1.0, 0.0]], dtype=dtype)
    near, far = [0.6, 0.8], [0.0, 1.0]
    labels = torch.tensor([[True, False]])
    mine, not_mine = [True, False], [False, True]
    others = torch.tensor([near, near, far, near], dtype=dtype)
    marks = torch.tensor([not_mine, mine, mine, not_mine])
    # The relevant one that is far is .6 further than two others; the near one is as near as both.
    found = weighted_triplets(query, others, labels, marks, margin=0.0)
    ideal = 1 + 1 / torch.log2(torch.tensor(3.0)).item()
    assert found.item() == pytest.approx(0.1 * 0.6 / ideal)


def test_pairs_that_only_probably_share_a_label_are_in_no_triplet() -> None:
    labels = torch.tensor([[0.9, 0.45, 0.45, 0.0]])
    others = torch.tensor([[0.9, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.4, 0.6, 0.6, 0.0]])
    outputs, gallery = _outputs(1, 1), _outputs(3, 2)
    both = weighted_triplets(outputs, gallery[:2], labels, others[:2], margin=2.0)
    assert both.item() > 0
    ideal = 2**0.9 - 1
    distances = 1 - torch.cosine_similarity(outputs, gallery)
    hinge = distances[0] - distances[1] + 2
    assert both.item() == pytest.approx(0.1 * hinge.item() * (2**0.9 - 1) / ideal)
    assert weighted_triplets(outputs, gallery, labels, others, margin=2.0).item() == (
        pytest.approx(both.item())
    )


def test_without_triplets_it_is_zero_with_a_gradient() -> None:
    outputs = _outputs(6, 1)
    for others, marks in ((outputs[:0], LABELS[:0]), (outputs, torch.ones(6, 4).bool())):
        found = weighted_triplets(outputs, others, LABELS, marks, margin=0.2)
        (gradient,) = torch.autograd.grad(found, [outputs], allow_unused=False)
        assert found.item() == 0
        assert (gradient == 0).all()


def test_outputs_are_whole_times_the_labels_and_margins_not_below_zero() -> None:
    with pytest.raises(ValueError, match=r"margin -0.1 is below 0"):
        weighted_triplets(_outputs(6, 1), _outputs(5, 2), LABELS, OTHERS, margin=-0.1)
    with pytest.raises(ValueError, match="7 outputs are not a whole number of times 6 labels"):
        weighted_triplets(_outputs(7, 1), _outputs(5, 2), LABELS, OTHERS, margin=0.2)
