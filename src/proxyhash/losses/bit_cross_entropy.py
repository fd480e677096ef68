"""The likelihood of given bits, each on its own."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from proxyhash.losses.supervision import Scalar

__all__ = ["bit_cross_entropy"]


def bit_cross_entropy(outputs: Float[Tensor, "n k"], codes: Float[Tensor, "n k"]) -> Scalar:
    """Return the mean over all bits of the binary cross-entropy of p = (1 + h) / 2.

        L = -(1/nK) sum_ik log((1 + b_ik h_ik) / 2)

    Args:
        outputs: h in [-1, 1], one row per item.
        codes: b in {-1, +1}, what the bits are to be.

    A bit that is as wrong as can be costs 100, not infinity. 0, with a graph behind it, without
    items.

    Source: Yuan et al., "Central Similarity Quantization for Efficient Image and Video Retrieval",
    CVPR 2020, the central similarity loss.
    """
    total = functional.binary_cross_entropy((1 + outputs) / 2, (1 + codes) / 2, reduction="sum")
    return total / max(outputs.numel(), 1)
