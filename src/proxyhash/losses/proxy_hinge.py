"""The proxy term of HyP²: towards positive proxies, away from the nearest negative ones."""

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

__all__ = ["proxy_hinge"]


def proxy_hinge(cosines: Logits, labels: Labels, *, tau: float) -> Scalar:
    """Return the mean of 1 - cos over positive pairs, and of relu(cos - tau) over negative ones.

        L = mean_{i, c in Y_i} (1 - cos_ic) + mean_{i, c not in Y_i} relu(cos_ic - tau)

    Args:
        cosines: of outputs and the classes' proxies, (n, C).
        labels: (n, C) in [0, 1]; an item without any adds neither value nor gradient. Probabilities
            weigh the first mean, and middling ones are in neither.
        tau: cosine up to which a negative proxy costs nothing.

    Source: Xu et al., "HyP² Loss: Beyond Hypersphere Metric Space for Multi-label Image Retrieval",
    ACM MM 2022; means as in HyP²'s own release.
    """
    positive, labeled = positives(labels)
    negative = labeled[:, None] & ~excluded(labels)
    weights = positive_weights(labels, cosines.dtype)
    pulled = torch.where(positive, weights * (1 - cosines), 0.0).sum()
    near = pulled / torch.where(positive.any(), weights.sum(), 1.0)
    far = torch.where(negative, (cosines - tau).relu(), 0.0).sum() / negative.sum().clamp(min=1)
    return near + far
