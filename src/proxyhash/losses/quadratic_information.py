"""The quadratic mutual information of codes and labels, on the sphere and clamped to squares."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from proxyhash.losses.supervision import Scalar

__all__ = ["quadratic_information"]


def quadratic_information(
    outputs: Float[Tensor, "n k"],
    others: Float[Tensor, "m k"],
    similarity: Bool[Tensor, "n m"],
    *,
    weight: float = 1.0,
) -> Scalar:
    """Return the loss whose minimum maximizes the information that codes have of labels.

        y_ij = (1 + cos(h_i, g_j)) / 2
        L = mean_ij S_ij (y_ij - 1)^2 + w r y_ij^2               r = mean_ij S_ij

    so pairs that share a label aim at y = 1 / (1 + w r), and the others at opposite codes.

    Args:
        outputs: h of n items.
        others: g of m items, of the same or another modality.
        similarity: S, which pairs share a label.
        weight: w, 1 where it is the mutual information.

    0, with a graph behind it, without pairs.

    Source: Passalis and Tefas, "Deep supervised hashing using quadratic spherical mutual
    information for efficient image retrieval", Signal Processing: Image Communication, 2021, with
    "square clamping"; the pairs across modalities are those of DNpH (IEEE TMM 2024), both as in
    DNpH's own release (QinLab-WFU/DNpH, utils/qmi_loss.py).
    """
    count = max(similarity.numel(), 1)
    cosines = functional.normalize(outputs, dim=1) @ functional.normalize(others, dim=1).T
    near = (1 + cosines) / 2
    joint = torch.where(similarity, (near - 1).square(), 0.0).sum()
    share = similarity.to(near.dtype).sum() / count
    return (joint + weight * share * near.square().sum()) / count
