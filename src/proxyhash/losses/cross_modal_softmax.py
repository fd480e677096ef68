"""The cross-modal term of DCHML."""

from __future__ import annotations

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
    logits: Logits, other_logits: Logits, labels: Labels, *, sigma: float, gamma: float = 0.3
) -> Scalar:
    """Return the mean over labeled items of this modality's anchor against the other's logits.

        a = gamma * ((1/n) * sum_{c in Y} o_c - sigma)
        L = logsumexp(a, {gamma * o'_c : c not in Y}) - a

    Args:
        logits: o, inner products of this modality's outputs and the proxies, (n, C).
        other_logits: o', the same of the *other* modality's current binary codes, (n, C).
        labels: multi-hot, (n, C); an item without any adds neither value nor gradient.
        sigma: margin, as in `margin_dynamic_softmax`.
        gamma: sharpness.

    Source: arXiv 2011.03451, with the competitors that the formula asks for (the released port
    reuses the first branch's denominator).
    """
    positive, labeled = positives(labels)
    logits = torch.where(labeled[:, None], logits, 0.0)
    other_logits = torch.where(labeled[:, None], other_logits, 0.0)
    a = anchor(logits, positive, gamma=gamma, sigma=sigma)
    return mean_over(softmax_term(a, gamma * other_logits, positive), labeled)
