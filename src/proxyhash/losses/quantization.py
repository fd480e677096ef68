"""The distance between outputs and the codes they are to become."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from proxyhash.losses.supervision import Scalar

__all__ = ["quantization"]


def quantization(outputs: Float[Tensor, "n k"], codes: Float[Tensor, "n k"]) -> Scalar:
    """Return the mean over items of ||b - h||^2; 0, with a graph behind it, without items.

    Args:
        outputs: h in (-1, 1), one row per item or proxy.
        codes: b in {-1, +1}: the unified code B = sign(H_image + H_text) of DCHML and DCMH, or
            sign(h) itself in PHNet.

    Source: arXiv 2011.03451; CVPR 2017, "Deep Cross-Modal Hashing", equation 1.
    """
    return (codes - outputs).square().sum() / max(len(outputs), 1)
