"""The contrastive cross-entropy between the halves of pairs, in both directions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from proxyhash.losses.soft_contrastive import soft_contrastive
from proxyhash.losses.supervision import Scalar

__all__ = ["paired_contrastive"]


def paired_contrastive(
    one: Float[Tensor, "n k"], other: Float[Tensor, "n k"], *, temperature: float
) -> Scalar:
    """Return the mean over both directions of -log softmax_j(cos(h_i, g_j) / T)_i.

    Args:
        one: h of n pairs.
        other: g of the same pairs in the same order.
        temperature: T of the cosines.

    0, with a graph behind it, without pairs.

    Source: as `soft_contrastive`, between the halves of a pair: Radford et al., "Learning
    Transferable Visual Models From Natural Language Supervision", ICML 2021.
    """
    own = torch.eye(len(one), dtype=one.dtype, device=one.device)
    there = soft_contrastive(one, other, own, scale=1 / temperature)
    back = soft_contrastive(other, one, own, scale=1 / temperature)
    return (there + back) / 2
