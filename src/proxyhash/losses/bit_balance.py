"""Bit balance: zero where each bit is +1 for half of the items."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from proxyhash.losses.supervision import Scalar

__all__ = ["bit_balance"]


def bit_balance(outputs: Float[Tensor, "n k"]) -> Scalar:
    """Return ||sum_i h_i||^2 / n; 0, with a graph behind it, without items.

    0 when every bit is balanced, about K for n codes of fair random bits, n*K when all codes are
    equal.

    Args:
        outputs: h in (-1, 1), one row per item or proxy.

    Source: PHNet of arXiv 2011.03451 as in PSLDH's own release (PSLDH.py); CVPR 2017, "Deep
    Cross-Modal Hashing", equation 1 (there without the division).
    """
    return outputs.sum(dim=0).square().sum() / max(len(outputs), 1)
