"""The triplet term of IDGH: relevant items nearer than others, by how many labels they share."""

from __future__ import annotations

import torch
from jaxtyping import Float, Num
from torch import Tensor
from torch.nn import functional

from proxyhash.losses.relevance import share_a_label
from proxyhash.losses.supervision import Labels, Scalar, positive_weights

__all__ = ["weighted_triplets"]

_FAR = 4.0
"""Above every distance 1 - cos and margin."""


def weighted_triplets(
    outputs: Float[Tensor, "n k"],
    others: Float[Tensor, "m k"],
    labels: Labels,
    other_labels: Num[Tensor, "m c"],
    *,
    margin: float,
) -> Scalar:
    """Return the mean over the triplets that cost anything of their weighted hinge.

    For item i, an item j that shares n_ij labels with it and an item k that shares none, with
    d = 1 - cos(h, g) and r the rank of an item by the labels that it shares with i:

        w_ij = (2^n_ij - 1) / Z_i,   Z_i = sum_r (2^n_ir - 1) / log2(r + 1)
        L = mean_{triplets above 0} .1 w_ij relu(d_ij - d_ik + m)

    Distances are sorted once per item, so n x m x m triplets need no such array.

    Args:
        outputs: h of n items.
        others: g of m items, of the same or another modality.
        labels: of the n items, in [0, 1].
        other_labels: of the m items.
        margin: m, by which relevant items must be nearer.

    0, with a graph behind it, without such triplets.

    Source: IDGH, "Intra-class Distribution-guided Generative Hashing with Neighbor Refinement for
    Cross-modal Retrieval", CVPR 2026, as in its authors' release (QinLab-WFU/IDGH,
    utils/Losses_s.py); the weights are those of the normalized discounted cumulative gain.
    """
    if not len(outputs) or not len(others):
        return outputs.sum() * 0
    dtype = outputs.dtype
    similar = share_a_label(labels.to(dtype), other_labels.to(dtype))
    weights = _gains(labels, other_labels, dtype) * similar
    cosines = functional.normalize(outputs, dim=1) @ functional.normalize(others, dim=1).T
    distances = (1 - cosines).clamp(min=0)
    rising = torch.where(similar, _FAR, distances).sort(dim=1).values
    limits = distances + margin
    nearer = torch.searchsorted(rising.detach(), limits.detach().contiguous())
    sums = functional.pad(rising.cumsum(dim=1), (1, 0)).gather(1, nearer)
    total = torch.where(similar, 0.1 * weights * (nearer * limits - sums), 0.0).sum()
    return total / torch.where(similar, nearer, 0).sum().clamp(min=1)


def _gains(labels: Labels, others: Num[Tensor, "m c"], dtype: torch.dtype) -> Float[Tensor, "n m"]:
    """Return w, (n, m)."""
    shared = positive_weights(labels, dtype) @ positive_weights(others, dtype).T
    gains = torch.exp2(shared) - 1
    ranks = torch.arange(gains.shape[1], dtype=dtype, device=gains.device)
    best = gains.sort(dim=1, descending=True).values / torch.log2(ranks + 2)
    ideal = best.sum(dim=1, keepdim=True)
    return gains / torch.where(ideal > 0, ideal, 1.0)
