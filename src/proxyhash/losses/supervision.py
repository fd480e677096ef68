"""Shared parts of the losses: which items and logits count, and sums that stay finite.

DCPH's public port and PSLDH's own release drop a logit from a sum by multiplying it with zero,
which leaves exp(0) in the denominator. Here it becomes minus infinity inside a log-sum-exp that
always holds at least one finite term, so neither the value nor the gradient can become NaN.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

__all__ = ["Labels", "Logits", "Scalar", "anchor", "mean_over", "positives", "softmax_term"]

Logits: TypeAlias = Float[Tensor, "n c"]
"""Inner products with the proxies, one row per item, one column per class."""
Labels: TypeAlias = Bool[Tensor, "n c"] | Num[Tensor, "n c"]
"""Multi-hot: more than 0 means that the item carries the class."""
Scalar: TypeAlias = Float[Tensor, ""]


def positives(labels: Labels) -> tuple[Bool[Tensor, "n c"], Bool[Tensor, " n"]]:
    """Return the positive entries, and which items have any."""
    positive = labels > 0
    return positive, positive.any(dim=1)


def mean_over(values: Float[Tensor, " n"], counted: Bool[Tensor, " n"]) -> Scalar:
    """Return the mean of the counted values; 0, with a graph behind it, when none is counted.

    Values that are not counted get a gradient of exactly 0, even when they are not finite.
    """
    total = torch.where(counted, values, 0.0).sum()
    return total / counted.sum().clamp(min=1)


def anchor(
    logits: Logits, positive: Bool[Tensor, "n c"], *, gamma: float, sigma: float
) -> Float[Tensor, " n"]:
    """Return a = gamma * (mean positive logit - sigma), one value per item.

    An item without positives gets -gamma * sigma; the caller leaves it out of the mean.
    """
    count = positive.sum(dim=1).clamp(min=1)
    mean = torch.where(positive, logits, 0.0).sum(dim=1) / count
    return gamma * (mean - sigma)


def softmax_term(
    a: Float[Tensor, " n"], competitors: Logits, positive: Bool[Tensor, "n c"]
) -> Float[Tensor, " n"]:
    """Return logsumexp(a, {competitors_c : c not positive}) - a, never negative.

    Computed as logsumexp(0, competitors - a), which keeps its precision where a is large.
    """
    differences = (competitors - a[:, None]).masked_fill(positive, -torch.inf)
    zero = torch.zeros_like(differences[:, :1])
    return torch.logsumexp(torch.cat([zero, differences], dim=1), dim=1)
