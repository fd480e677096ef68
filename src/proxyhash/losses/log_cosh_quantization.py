"""The quantization term of CSQ."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from proxyhash.losses.supervision import Scalar

__all__ = ["log_cosh_quantization"]


def log_cosh_quantization(outputs: Float[Tensor, "n k"]) -> Scalar:
    """Return the mean over all bits of log cosh(|h| - 1), a smooth ||h| - 1|.

    Args:
        outputs: h in [-1, 1], one row per item.

    0, with a graph behind it, without items.

    Source: Yuan et al., "Central Similarity Quantization for Efficient Image and Video Retrieval",
    CVPR 2020.
    """
    gap = outputs.abs() - 1
    terms = gap + functional.softplus(-2 * gap) - math.log(2)
    return terms.sum() / max(terms.numel(), 1)
