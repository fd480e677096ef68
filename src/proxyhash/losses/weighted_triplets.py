"""The triplet term of IDGH: relevant items nearer than others, by how many labels they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from proxyhash.losses.relevance import share_a_label
from proxyhash.losses.supervision import Labels, Scalar, positive_weights

if TYPE_CHECKING:
    from jaxtyping import Int

__all__ = ["weighted_triplets"]

_ROWS = 128
"""Items whose distances are looked at together: their arrays stay in the processor's caches."""


def weighted_triplets(
    outputs: Float[Tensor, "rn k"],
    others: Float[Tensor, "sm k"],
    labels: Labels,
    other_labels: Bool[Tensor, "m c"] | Num[Tensor, "m c"],
    *,
    margin: float,
) -> Scalar:
    """Return the mean over the triplets that cost anything of their weighted hinge.

    For item i, an item j that shares n_ij labels with it and an item k that shares none, with
    d = 1 - cos(h, g) and r the rank of an item by the labels that it shares with i:

        w_ij = (2^n_ij - 1) / Z_i,   Z_i = sum_r (2^n_ir - 1) / log2(r + 1)
        L = mean_{triplets above 0} .1 w_ij relu(d_ij - d_ik + m)

    Distances are sorted once per item, so n x m x m triplets need no such array, and neither do n x
    m distances.

    Where labels are probabilities, two items may probably share one, although there is none that
    both have; such a pair is neither relevant nor without a common label.

    Args:
        outputs: h of r times n items: all n, then all of them again, and so on.
        others: g of s times m items, of the same or another modality.
        labels: of the n items, in [0, 1].
        other_labels: of the m items.
        margin: m >= 0, by which relevant items must be nearer.

    0, with a graph behind it, without such triplets.

    Raises:
        ValueError: the outputs are not a whole number of times the labels; the margin is below 0.

    Source: IDGH, "Intra-class Distribution-guided Generative Hashing with Neighbor Refinement for
    Cross-modal Retrieval", CVPR 2026, as in its authors' release (QinLab-WFU/IDGH,
    utils/Losses_s.py); the weights are those of the normalized discounted cumulative gain.
    """
    if margin < 0:
        raise ValueError(f"margin {margin} is below 0")
    if not len(outputs) or not len(others):
        return outputs.sum() * 0
    dtype = outputs.dtype
    similar = share_a_label(labels.to(dtype), other_labels.to(dtype))
    times = _times(len(outputs), len(labels)), _times(len(others), len(other_labels))
    weights = _gains(labels, other_labels, dtype, times[1]) * similar
    one, other = functional.normalize(outputs, dim=1), functional.normalize(others, dim=1)
    hinges: Scalar = _Hinges.apply(one, other, _Pairs(0.1 * weights, similar, times), margin)  # type: ignore[no-untyped-call]
    return hinges


class _Pairs(NamedTuple):
    """The weights of pairs of items, which pairs are relevant, and how often each item is there."""

    weights: Float[Tensor, "n m"]
    similar: Bool[Tensor, "n m"]
    times: tuple[int, int]


class _Hinges(torch.autograd.Function):
    """Unit vectors u (rn, k) and v (sm, k) to the mean hinge of their triplets.

    In ascending order of d_ik, and of d_ij + m of relevant j, the triplets above 0 of a relevant j
    are the others before it, and those of another k the relevant after it. So

        dL/dd_ij = w_ij |{k before j}|,    dL/dd_ik = -sum_{j after k} w_ij

    both divided by the number of triplets above 0, are sums along that order.
    """

    @staticmethod
    def forward(
        ctx: Any,
        one: Float[Tensor, "rn k"],
        other: Float[Tensor, "sm k"],
        pairs: _Pairs,
        margin: float,
    ) -> Scalar:
        to_one, to_other = torch.empty_like(one), torch.zeros_like(other)
        total, count = one.new_zeros(()), one.new_zeros(())
        items, across = len(pairs.weights), pairs.times[1]
        for start in range(0, items, _ROWS):
            rows = slice(start, min(start + _ROWS, items))
            apart = ~pairs.similar[rows].repeat(1, across)
            weight = pairs.weights[rows].repeat(1, across)
            for first in range(start, len(one), items):
                place = slice(first, first + rows.stop - start)
                raw = 1 - one[place] @ other.T
                cost, above, slope = _along_order(raw.clamp(min=0), apart, weight, margin)
                slope *= raw >= 0
                total, count = total + cost, count + above
                to_one[place] = -slope @ other
                to_other -= slope.T @ one[place]
        count = count.clamp(min=1)
        ctx.save_for_backward(to_one / count, to_other / count)
        return total / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Scalar) -> tuple[Tensor | None, ...]:
        to_one, to_other = ctx.saved_tensors
        return upstream * to_one, upstream * to_other, None, None


def _along_order(
    distances: Float[Tensor, "n m"],
    apart: Bool[Tensor, "n m"],
    weights: Float[Tensor, "n m"],
    margin: float,
) -> tuple[Scalar, Scalar, Float[Tensor, "n m"]]:
    """Return the sum of the hinges, how many are above 0, and the derivative by the distances."""
    reached = torch.add(distances, (~apart).to(distances.dtype), alpha=margin)
    order, other = _ascending(reached, apart)
    values, weight = reached.gather(1, order), weights.gather(1, order)
    before, sums = other.cumsum(dim=1), (other * values).cumsum(dim=1)
    above = (before * (weight > 0)).sum()
    costs, left = weight * before, weight.sum(dim=1, keepdim=True) - weight.cumsum(dim=1)
    cost = (costs * values - weight * sums).sum()
    slope = costs - left * other
    return cost, above, torch.empty_like(slope).scatter_(1, order, slope)


def _ascending(
    values: Float[Tensor, "n m"], behind: Bool[Tensor, "n m"]
) -> tuple[Int[Tensor, "n m"], Float[Tensor, "n m"]]:
    """Return the order of each row's values, some behind others as large, and a 1 at each of these.

    Floats at or above 0 are in the order of their bits. With their column in the lower half of a
    whole number, one sort of these without its order is what numpy has instructions for.
    """
    if values.dtype != torch.float32 or values.device.type != "cpu":
        first = behind.to(torch.uint8).sort(dim=1, stable=True).indices
        order = first.gather(1, values.gather(1, first).sort(dim=1, stable=True).indices)
        return order, behind.gather(1, order).to(values.dtype)
    columns = torch.arange(values.shape[1]) + (behind.to(torch.int64) << 31)
    keys = (values.contiguous().view(torch.int32).to(torch.int64) << 32) + columns
    keys = torch.from_numpy(np.sort(keys.numpy(), axis=1))
    return keys & (2**31 - 1), (keys >> 31 & 1).to(values.dtype)


def _times(outputs: int, labels: int) -> int:
    if not labels or outputs % labels:
        raise ValueError(f"{outputs:,} outputs are not a whole number of times {labels:,} labels")
    return outputs // labels


def _gains(
    labels: Labels, others: Bool[Tensor, "m c"] | Num[Tensor, "m c"], dtype: torch.dtype, times: int
) -> Float[Tensor, "n m"]:
    """Return w, (n, m), where each of the m items is there some times."""
    shared = positive_weights(labels, dtype) @ positive_weights(others, dtype).T
    gains = torch.exp2(shared) - 1
    ranks = torch.arange(times * gains.shape[1], dtype=dtype, device=gains.device)
    discounts = (1 / torch.log2(ranks + 2)).view(-1, times).sum(dim=1)
    ideal = gains.sort(dim=1, descending=True).values @ discounts[:, None]
    return gains / torch.where(ideal > 0, ideal, 1.0)
