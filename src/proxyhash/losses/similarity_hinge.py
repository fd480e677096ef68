"""The pair term of DCGH: items are at least as similar as their labels."""

from __future__ import annotations

import torch
from jaxtyping import Float, Num
from torch import Tensor
from torch.nn import functional

from proxyhash.losses.relevance import share_a_label
from proxyhash.losses.supervision import Labels, Scalar, positive_weights

__all__ = ["similarity_hinge"]


def similarity_hinge(
    outputs: Float[Tensor, "n k"],
    others: Float[Tensor, "m k"],
    labels: Labels,
    other_labels: Num[Tensor, "m c"],
) -> Scalar:
    """Return the mean of relu(cos(y_i, y_j) - cos(h_i, g_j)) over the pairs that share a label.

    Args:
        outputs: h of n items.
        others: g of m items, of the same or another modality.
        labels: y of the n items, in [0, 1].
        other_labels: y of the m items.

    0, with a graph behind it, without such pairs.

    Source: DCGH, "Deep Class-guided Hashing for Multi-label Cross-modal Retrieval", as in its
    authors' release (donnotnormal/DCGH, utils/utils.py).
    """
    one, other = (
        functional.normalize(positive_weights(values, outputs.dtype), dim=1)
        for values in (labels, other_labels)
    )
    cosines = functional.normalize(outputs, dim=1) @ functional.normalize(others, dim=1).T
    similar = share_a_label(labels.to(outputs.dtype), other_labels.to(outputs.dtype))
    terms = torch.where(similar, (one @ other.T - cosines).relu(), 0.0)
    return terms.sum() / similar.sum().clamp(min=1)
