"""The variance term of DCGH: an item is as far from one of its proxies as from another."""

from __future__ import annotations

import torch

from proxyhash.losses.supervision import Labels, Logits, Scalar, mean_over, positives

__all__ = ["proxy_variance"]


def proxy_variance(cosines: Logits, labels: Labels) -> Scalar:
    """Return the mean over labeled items of the variance over classes of [c in Y_i] (1 - cos_ic).

    The variance is that of C values, divided by C - 1, where negative classes count as 0, so that
    an item of a single class is drawn to its proxy.

    Args:
        cosines: of outputs and the classes' proxies, (n, C).
        labels: (n, C) in [0, 1]; an item without any adds neither value nor gradient.

    0, with a graph behind it, without labeled items or with a single class.

    Source: DCGH, "Deep Class-guided Hashing for Multi-label Cross-modal Retrieval", as in its
    authors' release (donnotnormal/DCGH, utils/utils.py).
    """
    positive, labeled = positives(labels)
    distances = torch.where(positive, 1 - cosines, 0.0)
    spread = (distances - distances.mean(dim=1, keepdim=True)).square().sum(dim=1)
    return mean_over(spread / max(cosines.shape[1] - 1, 1), labeled)
