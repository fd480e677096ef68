"""The cross-modal term of DCHML."""

from __future__ import annotations

from typing import Literal

import torch

from proxyhash.losses.supervision import (
    Labels,
    Logits,
    Scalar,
    anchor,
    mean_over,
    positives,
    softmax_term,
)

__all__ = ["cross_modal_softmax"]


def cross_modal_softmax(
    logits: Logits,
    other_logits: Logits,
    labels: Labels,
    *,
    sigma: float,
    gamma: float = 0.3,
    denominator: Literal["own", "other"] = "own",
) -> Scalar:
    """Return the mean over labeled items of this modality's anchor against the other's logits.

        a  = gamma * ((1/n) * sum_{c in Y} o_c  - sigma)
        a' = gamma * ((1/n) * sum_{c in Y} o'_c - sigma)
        L  = logsumexp(a,  {gamma * o'_c : c not in Y}) - a        denominator "own"
        L  = logsumexp(a', {gamma * o'_c : c not in Y}) - a        denominator "other"

    With "own" the gradient fades once a exceeds the competitors. With "other" the denominator is a
    constant, so the gradient is a constant pull to the mean positive proxy, and L can be negative.

    Args:
        logits: o, inner products of this modality's outputs and the proxies, (n, C).
        other_logits: o', the same of the *other* modality's current binary codes, (n, C).
        labels: (n, C) in [0, 1], probabilities as in `margin_dynamic_softmax`; an item without any
            adds neither value nor gradient.
        sigma: margin, as in `margin_dynamic_softmax`.
        gamma: sharpness.
        denominator: whose anchor stands in the denominator.

    Source: "own" is our reading of arXiv 2011.03451. "other" is the image branch of a public port,
    1034829217/paddle, DCPH/utils/DFPH_NN.py; positives leave its sum here, where the port's mask
    leaves exp(0) of each.
    """
    _, labeled = positives(labels)
    logits = torch.where(labeled[:, None], logits, 0.0)
    other_logits = torch.where(labeled[:, None], other_logits, 0.0)
    a = anchor(logits, labels, gamma=gamma, sigma=sigma)
    if denominator == "own":
        terms = softmax_term(a, gamma * other_logits, labels)
    else:
        other = anchor(other_logits, labels, gamma=gamma, sigma=sigma)
        terms = softmax_term(other, gamma * other_logits, labels) + other - a
    return mean_over(terms, labeled)
