"""The contrastive cross entropy (InfoNCE) with soft targets."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from proxyhash.losses.supervision import Scalar

__all__ = ["soft_contrastive"]


def soft_contrastive(
    outputs: Float[Tensor, "n k"],
    others: Float[Tensor, "m k"],
    targets: Float[Tensor, "n m"],
    *,
    scale: float,
    ignored: Bool[Tensor, "n m"] | None = None,
) -> Scalar:
    """Return the mean over items of -sum_j t_ij log softmax_j(s cos(h_i, g_j)).

    Args:
        outputs: h of n items.
        others: g of m items.
        targets: t, which others belong to each item; rows sum to 1, or to 0 for items that carry
            no supervision.
        scale: s, the inverse temperature.
        ignored: pairs that are neither: they are in no sum; their targets must be 0.

    0, with a graph behind it, without items.

    Source: van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive
    Coding", arXiv 1807.03748 (2018), where t_ij is 1 for the own pair; between the halves of a pair
    as in CLIP (Radford et al., ICML 2021). Soft targets are those of distillation.
    """
    cosines = functional.normalize(outputs, dim=1) @ functional.normalize(others, dim=1).T
    logits = scale * cosines
    if ignored is not None:
        logits = logits.masked_fill(ignored, -torch.inf)
    log_shares = logits.log_softmax(dim=1)
    terms = torch.where(targets > 0, targets * log_shares, torch.zeros_like(log_shares))
    return -terms.sum() / max(len(outputs), 1)
