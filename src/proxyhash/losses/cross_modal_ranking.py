"""The own half of a pair ahead of all others, near misses counting more."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from proxyhash.losses.supervision import Scalar

__all__ = ["cross_modal_ranking"]


def cross_modal_ranking(
    outputs: Float[Tensor, "n k"],
    others: Float[Tensor, "n k"],
    *,
    margin: float,
    shift: float,
) -> Scalar:
    """Return the mean over items of margin - s_ii + log sum_j exp(c_ij), s_ij = cos(h_i, g_j).

    c_ij is s_ij where s_ij >= s_ii - margin, as for j = i, and s_ij - shift elsewhere: pairs that
    are far apart already count less, by a factor of exp(-shift), but still count.

    Args:
        outputs: h of n items.
        others: g of the same items, row i the other half of row i.
        margin: how far below its own half another may be and count fully.
        shift: what is taken off the others.

    0, with a graph behind it, without items.

    Source: Hu et al., "Unsupervised Contrastive Cross-Modal Hashing", TPAMI 2023, as in the
    authors' own release (penghu-cs/UCCH, src/utils.py), where its temperature is 1.
    """
    if not len(outputs):
        return (outputs.sum() + others.sum()) * 0
    cosines = functional.normalize(outputs, dim=1) @ functional.normalize(others, dim=1).T
    own = cosines.diagonal()
    near = cosines >= own[:, None] - margin
    # Rounding, or a margin of 0, must not put an own half among the others.
    near = near | torch.eye(len(near), dtype=torch.bool, device=near.device)
    costs = torch.where(near, cosines, cosines - shift)
    return (margin - own + costs.logsumexp(dim=1)).mean()
