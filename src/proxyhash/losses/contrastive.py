"""The contrastive loss: similar pairs at no distance, others at a margin."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from proxyhash.losses.supervision import Scalar

__all__ = ["contrastive"]


def contrastive(
    outputs: Float[Tensor, "n k"],
    others: Float[Tensor, "m k"],
    similarity: Bool[Tensor, "n m"],
    *,
    margin: float,
) -> Scalar:
    """Return the mean over all pairs of d^2 where similar, of relu(margin - d)^2 where not.

    Args:
        outputs: h of n items.
        others: g of m items, of the same or the other modality.
        similarity: which pairs share a label.
        margin: Euclidean distance d at which a dissimilar pair costs nothing.

    The gradient at d = 0 is 0. 0, with a graph behind it, without pairs.

    Source: Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant Mapping",
    CVPR 2006; in hashing DCHMT (ACM MM 2022), as in DCHMT's own release.
    """
    inner = outputs @ others.T
    norms = outputs.square().sum(dim=1)[:, None] + others.square().sum(dim=1)[None, :]
    squares = (norms - 2 * inner).clamp(min=1e-12)  # the root has no gradient at 0
    apart = (margin - squares.sqrt()).relu().square()
    return torch.where(similarity, squares, apart).sum() / max(squares.numel(), 1)
