"""Uncertainty of bits that are two-way choices."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from proxyhash.losses.supervision import Scalar

__all__ = ["bit_uncertainty"]


def bit_uncertainty(outputs: Float[Tensor, "n k"]) -> Scalar:
    """Return the mean over all bits of 1 - h^2 = 1 - (2 p - 1)^2, with p = (1 + h) / 2.

    1 where every bit is a fair coin, 0 where every bit is decided.

    Args:
        outputs: h in [-1, 1], one row per item.

    0, with a graph behind it, without items.

    Source: DCHMT (ACM MM 2022), as in DCHMT's own release.
    """
    return (1 - outputs.square()).sum() / max(outputs.numel(), 1)
