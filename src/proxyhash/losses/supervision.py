"""Shared parts of the losses: which items and logits count, and sums that stay finite.

Labels y are 0 or 1, or probabilities, which `data label` finds. A class of probability y_c is

    positive, with weight y_c,      y_c >= 1/2
    a competitor (negative),        y_c <  1/4
    neither, so it costs nothing    between

and a mean over positives is sum_c y_c x_c / sum_c y_c. An item whose classes all have less than 1/2
has no labels. With y in {0, 1} these are the plain means, to the last bit.

DCPH's public port and PSLDH's own release drop a logit from a sum by multiplying it with zero,
which leaves exp(0) in the denominator. Here it becomes minus infinity inside a log-sum-exp that
always holds at least one finite term, so neither the value nor the gradient can become NaN.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

__all__ = [
    "Labels",
    "Logits",
    "Scalar",
    "anchor",
    "certain",
    "excluded",
    "mean_over",
    "mean_over_positives",
    "positive_weights",
    "positives",
    "softmax_term",
    "sum_over_positives",
]

Logits: TypeAlias = Float[Tensor, "n c"]
"""Inner products with the proxies, one row per item, one column per class."""
Labels: TypeAlias = Bool[Tensor, "n c"] | Num[Tensor, "n c"]
"""Multi-hot, or probabilities in [0, 1]."""
Scalar: TypeAlias = Float[Tensor, ""]

_POSITIVE, _NEGATIVE = 0.5, 0.25


def certain(labels: Labels) -> Bool[Tensor, "n c"]:
    """Return which classes each item has: those of a probability of at least 1/2."""
    return labels >= _POSITIVE


def positives(labels: Labels) -> tuple[Bool[Tensor, "n c"], Bool[Tensor, " n"]]:
    """Return the positive entries, and which items have any."""
    positive = certain(labels)
    return positive, positive.any(dim=1)


def excluded(labels: Labels) -> Bool[Tensor, "n c"]:
    """Return the entries that do not compete: positives, and classes of middling probability."""
    return labels >= _NEGATIVE


def mean_over_positives(values: Float[Tensor, "n c"], labels: Labels) -> Float[Tensor, " n"]:
    """Return each item's mean over its positives, weighted by probability; 0 where it has none."""
    count = positive_weights(labels, values.dtype).sum(dim=1)
    return sum_over_positives(values, labels) / torch.where(count > 0, count, 1.0)


def sum_over_positives(values: Float[Tensor, "n c"], labels: Labels) -> Float[Tensor, " n"]:
    """Return each item's sum over its positives, weighted by probability; 0 where it has none."""
    weights = positive_weights(labels, values.dtype)
    return torch.where(certain(labels), weights * values, 0.0).sum(dim=1)


def positive_weights(labels: Labels, dtype: torch.dtype) -> Float[Tensor, "n c"]:
    """Return the probability of each positive entry; 0 for the others."""
    return torch.where(certain(labels), labels.to(dtype), 0.0).clamp(max=1)


def mean_over(values: Float[Tensor, " n"], counted: Bool[Tensor, " n"]) -> Scalar:
    """Return the mean of the counted values; 0, with a graph behind it, when none is counted.

    Values that are not counted get a gradient of exactly 0, even when they are not finite.
    """
    total = torch.where(counted, values, 0.0).sum()
    return total / counted.sum().clamp(min=1)


def anchor(logits: Logits, labels: Labels, *, gamma: float, sigma: float) -> Float[Tensor, " n"]:
    """Return a = gamma * (mean positive logit - sigma), one value per item.

    An item without positives gets -gamma * sigma; the caller leaves it out of the mean.
    """
    return gamma * (mean_over_positives(logits, labels) - sigma)


def softmax_term(
    a: Float[Tensor, " n"], competitors: Logits, labels: Labels
) -> Float[Tensor, " n"]:
    """Return logsumexp(a, {competitors_c : c negative}) - a, never negative.

    Computed as logsumexp(0, competitors - a), which keeps its precision where a is large.
    """
    differences = (competitors - a[:, None]).masked_fill(excluded(labels), -torch.inf)
    zero = torch.zeros_like(differences[:, :1])
    return torch.logsumexp(torch.cat([zero, differences], dim=1), dim=1)
