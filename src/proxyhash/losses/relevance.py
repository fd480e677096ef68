"""Relevance: the probability that two items share a label, and the likelihood of codes under it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from proxyhash.losses.supervision import Scalar

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "probable_similarity",
    "relative_relevance",
    "relevance",
    "relevance_likelihood",
    "share_a_label",
]


def relevance(
    posteriors: Float[Tensor, "n c"], others: Float[Tensor, "m c"]
) -> Float[Tensor, "n m"]:
    """Return the probability that two items share at least one label.

        S_ij = 1 - prod_c (1 - p_ic q_jc)

    Labels are taken as independent given the items. For posteriors of 0 and 1 this is the usual
    similarity of cross-modal hashing, 1 where a label is shared.

    Args:
        posteriors: p, probabilities of the classes of n items.
        others: q, those of m items.
    """
    none: Tensor = _NoneShared.apply(posteriors.T.contiguous(), others.T.contiguous())  # type: ignore[no-untyped-call]
    return 1 - none


def relative_relevance(probability: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Return the relevance of each item to a query, divided by that of the item that fits best.

        R_ij = S_ij / max_{l != i} S_il

    A query that is sure of nothing has no item that is probably relevant to it, and is to order
    items all the same. The diagonal, at most 1 too, means nothing.

    Args:
        probability: S, how likely each pair of n items is relevant; rows are queries.
    """
    if len(probability) < 2:
        return probability
    best = probability.clone().fill_diagonal_(0).amax(dim=1, keepdim=True).clamp(min=1e-12)
    return (probability / best).clamp(max=1)


class _NoneShared(torch.autograd.Function):
    """Product over classes of 1 - p_ic q_jc, whose derivative by a factor is that of the others.

    Both passes go over the classes with two matrices in turn and keep none per class. The others
    are the product divided by the factor; where one factor is 0, they are multiplied again.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, other: Tensor) -> Tensor:
        """Return the products (n, m) for probabilities (c, n) and (c, m)."""
        product = own.new_ones(own.shape[1], other.shape[1])
        for factor in _factors(own, other):
            product *= factor
        ctx.save_for_backward(own, other, product)
        return product

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        own, other, product = ctx.saved_tensors
        zeros = (own == 1).to(own.dtype).T @ (other == 1).to(own.dtype)  # factors that are 0
        certain = bool(zeros.any())
        if certain:
            product = torch.ones_like(product)
            for factor in _factors(own, other):
                product *= factor.masked_fill_(factor == 0, 1)
        product = grad * product
        whole, single = (product * (zeros == count) for count in (0, 1))
        by_own, by_other = torch.empty_like(own), torch.empty_like(other)
        for row, factor in enumerate(_factors(own, other)):
            if certain:
                rest = torch.where(factor == 0, single, whole / factor)
            else:
                rest = torch.div(whole, factor, out=factor)
            torch.mv(rest, other[row], out=by_own[row])
            torch.mv(rest.T, own[row], out=by_other[row])
        return -by_own, -by_other


def _factors(own: Tensor, other: Tensor) -> Iterator[Tensor]:
    """Yield 1 - p_i q_j, (n, m), of one class after the other, in a matrix that is overwritten."""
    ones = other.new_ones(other.shape[1])
    factor = own.new_empty(own.shape[1], other.shape[1])
    for p, q in zip(own, other, strict=True):
        yield torch.addcmul(ones, p[:, None], q, value=-1, out=factor)


def share_a_label(
    labels: Float[Tensor, "n c"], others: Float[Tensor, "m c"]
) -> Bool[Tensor, "n m"]:
    """Return which items share a label, S_ij > 0; where labels are probabilities, S_ij >= 1/2.

    So pairs of items that are each of a class with .8 are similar, and pairs with .5 are not.
    """
    if bool(((labels == 0) | (labels == 1)).all()) and bool(((others == 0) | (others == 1)).all()):
        return labels @ others.T > 0
    return relevance(labels, others) >= 0.5


def probable_similarity(
    labels: Float[Tensor, "n c"], others: Float[Tensor, "m c"]
) -> Float[Tensor, "n m"]:
    """Return S in {0, 1}; where labels are probabilities, `relevance`."""
    if bool((labels.frac() == 0).all()) and bool((others.frac() == 0).all()):
        return (labels @ others.T > 0).to(labels.dtype)
    return relevance(labels, others)


def relevance_likelihood(
    outputs: Float[Tensor, "n k"],
    probability: Float[Tensor, "n n"],
    *,
    scale: Tensor,
    bias: Tensor,
    weights: Float[Tensor, "n n"] | None = None,
) -> Scalar:
    """Return the mean cross-entropy of the relevance of all pairs of different items.

        theta_ij = scale * h_i . h_j / K + bias
        L = (1 / sum_{i != j} w_ij) sum_{i != j} w_ij (softplus(theta_ij) - S_ij theta_ij)

    Args:
        outputs: h, relaxed codes of both modalities together.
        probability: S, how likely each pair is relevant.
        scale: factor of the inner products, a learned number.
        bias: logit of the relevance of codes at a distance of K/2, a learned number.
        weights: w, of each pair; none: 1.

    0, with a graph behind it, for fewer than two items.
    """
    count, bits = outputs.shape
    theta = scale * (outputs @ outputs.T) / bits + bias
    terms = functional.softplus(theta) - probability * theta
    apart = 1 - torch.eye(count, dtype=terms.dtype, device=terms.device)
    if weights is None:
        return (terms * apart).sum() / max(count * (count - 1), 1)
    counted = apart * weights
    total = counted.sum()
    return (terms * counted).sum() / torch.where(total > 0, total, 1.0)
