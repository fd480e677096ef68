"""The scaled-cosine cross-entropy of OrthoHash."""

from __future__ import annotations

import torch
from torch.nn import functional

from proxyhash.losses.supervision import (
    Labels,
    Logits,
    Scalar,
    excluded,
    mean_over,
    mean_over_positives,
    positives,
    sum_over_positives,
)

__all__ = ["cosine_softmax"]


def cosine_softmax(
    cosines: Logits, labels: Labels, *, scale: float, margin: float, summed: bool = False
) -> Scalar:
    """Return the mean over labeled items of a cross-entropy with equal shares for the positives.

        a_c = scale (cos_c - margin [c in Y])
        L = -(1/n) sum_{c in Y} log softmax(a)_c

    Args:
        cosines: of outputs and the classes' codes, (n, C).
        labels: (n, C) in [0, 1]; an item without any adds neither value nor gradient. Probabilities
            are the shares of the positives, and middling classes leave the softmax.
        scale: what cosines are multiplied with.
        margin: what positive cosines must be ahead by.
        summed: without the 1/n, so that an item counts as often as it has classes: the proxy-NCA
            of DNPH.

    Source: Hoe et al., "One Loss for All: Deep Hashing with a Single Cosine Similarity based
    Learning Objective", NeurIPS 2021; several labels as in OrthoHash's own release.
    """
    positive, labeled = positives(labels)
    cosines = torch.where(labeled[:, None], cosines, 0.0)
    logits = scale * torch.where(positive, cosines - margin, cosines)
    middling = excluded(labels) & ~positive & labeled[:, None]
    likelihood = functional.log_softmax(logits.masked_fill(middling, -torch.inf), dim=1)
    shares = torch.where(positive, likelihood, 0.0)
    over_positives = sum_over_positives if summed else mean_over_positives
    return mean_over(-over_positives(shares, labels), labeled)
