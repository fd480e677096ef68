"""The pair term of HyP²: items without a common label are pushed apart."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from proxyhash.losses.supervision import Scalar

__all__ = ["irrelevant_pairs"]


def irrelevant_pairs(
    outputs: Float[Tensor, "n k"],
    others: Float[Tensor, "m k"],
    similarity: Bool[Tensor, "n m"],
    *,
    tau: float,
) -> Scalar:
    """Return the mean of relu(cos(h_i, g_j) - tau) over the pairs that share no label.

    Args:
        outputs: h of n items.
        others: g of m items, of the same or the other modality.
        similarity: which pairs share a label; they cost nothing.
        tau: cosine up to which a pair costs nothing.

    0, with a graph behind it, without such pairs.

    Source: Xu et al., "HyP² Loss: Beyond Hypersphere Metric Space for Multi-label Image Retrieval",
    ACM MM 2022.
    """
    cosines = functional.normalize(outputs, dim=1) @ functional.normalize(others, dim=1).T
    terms = torch.where(similarity, 0.0, (cosines - tau).relu())
    return terms.sum() / (~similarity).sum().clamp(min=1)
