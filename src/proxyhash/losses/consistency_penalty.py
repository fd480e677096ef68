"""The proxy term of DScPH: one ratio per batch of kept consistency and penalties."""

from __future__ import annotations

import torch

from proxyhash.losses.supervision import Labels, Logits, Scalar, excluded, positive_weights

__all__ = ["consistency_penalty"]


def consistency_penalty(
    cosines: Logits,
    labels: Labels,
    *,
    tau: float,
    psi: float,
    near: float = 1.3,
    far: float = 1.3,
    smooth: float = 2.0,
) -> Scalar:
    """Return 1 - T / (T + P + N), in [0, 1), over all classes of all labeled items.

        T = 2 sum_{i, c in Y_i} relu(cos_ic) + b
        P = sum_{i, c in Y_i} [exp(s_p (1 - cos_ic))] (1 - cos_ic)
        N = sum_{i, c not in Y_i, cos_ic > tau} [exp(s_n (cos_ic - 1))] (cos_ic - psi)

    where the factors in brackets weigh pairs and have no gradient.

    Args:
        cosines: of outputs and the classes' proxies, (n, C).
        labels: (n, C) in [0, 1]; an item without any adds neither value nor gradient. Probabilities
            weigh T and P, and middling ones are in no sum.
        tau: cosine above which a negative proxy is penalized.
        psi: cosine from which the penalty counts, at most tau.
        near: s_p, how much more distant positive proxies weigh.
        far: s_n, how much more close negative proxies weigh.
        smooth: b, which keeps the ratio in place where nothing is positive.

    Source: DScPH (IEEE TMM 2025), as in its authors' releases (CPF_loss.py).
    """
    weights = positive_weights(labels, cosines.dtype)
    positive = weights > 0
    labeled = positive.any(dim=1, keepdim=True)
    cosines = torch.where(labeled, cosines, 0.0)
    kept = 2 * torch.where(positive, weights * cosines.relu(), 0.0).sum() + smooth
    distance = 1 - cosines
    missed = weights * distance * (near * distance.detach()).exp()
    wrong = (cosines - psi) * (-far * distance.detach()).exp()
    counted = labeled & ~excluded(labels) & (cosines > tau)
    penalty = missed.sum() + torch.where(counted, wrong, 0.0).sum()
    return penalty / (kept + penalty)
