"""Relevance: the probability that two items share a label, and the likelihood of codes under it."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from proxyhash.losses.supervision import Scalar

__all__ = ["relevance", "relevance_likelihood", "share_a_label"]


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
    none = posteriors.new_ones(len(posteriors), len(others))
    for own, other in zip(posteriors.T, others.T, strict=True):
        none = none * (1 - own[:, None] * other[None, :])
    return 1 - none


def share_a_label(
    labels: Float[Tensor, "n c"], others: Float[Tensor, "m c"]
) -> Bool[Tensor, "n m"]:
    """Return which items share a label, S_ij > 0; where labels are probabilities, S_ij >= 1/2.

    So pairs of items that are each of a class with .8 are similar, and pairs with .5 are not.
    """
    if bool(((labels == 0) | (labels == 1)).all()) and bool(((others == 0) | (others == 1)).all()):
        return labels @ others.T > 0
    return relevance(labels, others) >= 0.5


def relevance_likelihood(
    outputs: Float[Tensor, "n k"],
    probability: Float[Tensor, "n n"],
    *,
    scale: Tensor,
    bias: Tensor,
) -> Scalar:
    """Return the mean cross-entropy of the relevance of all pairs of different items.

        theta_ij = scale * h_i . h_j / K + bias
        L = (1 / n(n-1)) sum_{i != j} softplus(theta_ij) - S_ij theta_ij

    Args:
        outputs: h, relaxed codes of both modalities together.
        probability: S, how likely each pair is relevant.
        scale: factor of the inner products, a learned number.
        bias: logit of the relevance of codes at a distance of K/2, a learned number.

    0, with a graph behind it, for fewer than two items.
    """
    count, bits = outputs.shape
    theta = scale * (outputs @ outputs.T) / bits + bias
    terms = functional.softplus(theta) - probability * theta
    apart = 1 - torch.eye(count, dtype=terms.dtype, device=terms.device)
    return (terms * apart).sum() / max(count * (count - 1), 1)
