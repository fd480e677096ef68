"""The pair term of DDBH: a likelihood around boundaries that each item's own pairs decide."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from proxyhash.losses.supervision import Scalar

__all__ = ["boundary_likelihood"]

_STEEPNESS = math.log(99)
"""At the width from its boundary, a pair has a likelihood of .99."""


def boundary_likelihood(
    outputs: Float[Tensor, "n k"],
    others: Float[Tensor, "m k"],
    similarity: Bool[Tensor, "n m"],
    *,
    width: float,
    ceiling: float,
) -> Scalar:
    """Return the mean over items of the likelihoods of their similar and dissimilar pairs.

    For item i, with x_ij = h_i . g_j, the means m+ and m- of its similar and dissimilar x, clamped
    to [0, U], the mean d of the largest tenth of dissimilar x and e of the smallest tenth of
    similar x, the boundaries are

        B+ = m+ - (U - m+) / U |m+ - d|            B- = m- - m- / U |m- - e|

    and, with a width that halves on the side where a pair is hard (similar and below B+, or
    dissimilar and above B-),

        L_i = mean_{j similar} log(1 + exp(-log 99 (x_ij - B+) / width))
            + mean_{j dissimilar} log(1 + exp(log 99 (x_ij - B-) / width))

    The boundaries have no gradient. Items without similar or without dissimilar pairs are left out.

    Args:
        outputs: h of n items.
        others: g of m items, of the same or another modality.
        similarity: which pairs share a label.
        width: inner product from an easy pair's boundary to its likelihood of .99.
        ceiling: U, the largest boundary.

    0, with a graph behind it, where no item has pairs of both kinds.

    Source: DDBH (IEEE TCSVT 2025), as in its authors' release (train/DDBH/loss.py of
    QinLab-WFU/CLIP-based-Cross-Modal-Hashing). "Tenth" is n - floor(.9 n) of n, so never empty.
    """
    both = similarity.any(dim=1) & ~similarity.all(dim=1)
    similar = similarity[both]
    inner = outputs[both] @ others.T
    boundary, opposite = _boundaries(inner.detach(), similar, ceiling)
    above = inner - torch.where(similar, boundary[:, None], opposite[:, None])
    wrong = torch.where(similar, -above, above)
    slopes = _STEEPNESS / width * (1 + (wrong > 0).to(wrong.dtype))
    terms = functional.softplus(slopes * wrong)
    per_item = _row_means(terms, similar) + _row_means(terms, ~similar)
    return per_item.sum() / max(len(per_item), 1)


def _boundaries(
    inner: Float[Tensor, "n m"], similar: Bool[Tensor, "n m"], ceiling: float
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return B+ and B- of each item."""
    near = _row_means(inner, similar).clamp(0, ceiling)
    far = _row_means(inner, ~similar).clamp(0, ceiling)
    boundary = near - (ceiling - near) / ceiling * (near - _largest_tenth(inner, ~similar)).abs()
    opposite = far - far / ceiling * (far + _largest_tenth(-inner, similar)).abs()
    return boundary, opposite


def _largest_tenth(
    values: Float[Tensor, "n m"], members: Bool[Tensor, "n m"]
) -> Float[Tensor, " n"]:
    """Return the mean of the largest tenth of each row's members."""
    count = members.sum(dim=1)
    taken = count - 9 * count // 10
    falling = values.masked_fill(~members, -torch.inf).sort(dim=1, descending=True).values
    first = torch.arange(values.shape[1], device=values.device) < taken[:, None]
    return torch.where(first, falling, 0.0).sum(dim=1) / taken


def _row_means(values: Float[Tensor, "n m"], members: Bool[Tensor, "n m"]) -> Float[Tensor, " n"]:
    """Return the mean of each row's members."""
    return torch.where(members, values, 0.0).sum(dim=1) / members.sum(dim=1)
