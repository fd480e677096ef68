"""The score term of KDPH: every positive class ahead of every negative one by a margin."""

from __future__ import annotations

import torch

from proxyhash.losses.supervision import (
    Labels,
    Logits,
    Scalar,
    excluded,
    positive_weights,
    positives,
)

__all__ = ["score_hinge"]


def score_hinge(scores: Logits, labels: Labels, *, margin: float) -> Scalar:
    """Return the mean of relu(s_id - s_ic + m) over items i, c in Y_i and d not in Y_i.

    Args:
        scores: s, how well each item suits each class, (n, C).
        labels: (n, C) in [0, 1]; an item without any adds neither value nor gradient. Probabilities
            weigh the terms of their class, and middling ones are neither c nor d.
        margin: m, what a positive class must be ahead by.

    0, with a graph behind it, without such triples.

    Source: KDPH, "Absorbing Gradient Conflicts: Modeling Semantic Variance via Kent Distributions
    for Cross-Modal Hashing", 2026, as in its authors' release (Senmo996/KDPH-official-code,
    models/KDPH/loss/HyP.py).
    """
    positive, _ = positives(labels)
    items, classes = positive.nonzero(as_tuple=True)
    behind = (scores[items] - scores[items, classes][:, None] + margin).relu()
    counted = torch.where(excluded(labels), 0.0, 1.0).to(scores.dtype)[items]
    weights = positive_weights(labels, scores.dtype)[items, classes][:, None] * counted
    total = torch.where(weights > 0, weights * behind, 0.0).sum()
    return total / torch.where(weights.sum() > 0, weights.sum(), 1.0)
